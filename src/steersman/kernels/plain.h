/* Blocks of products for processors that do not multiply bfloat16: operands are widened to float32 as they are laid out,
   and multiplied in vectors of the compiler's own (AVX2 with FMA, AVX512 without BF16, NEON). An operand's 32 rows are,
   for every 32 terms, [32 terms][32 rows]; of a first operand that does not lie across, [32 rows][32 terms]. */

#ifndef STEERSMAN_PLAIN_H
#define STEERSMAN_PLAIN_H

typedef float Laid; /* what operands are laid out in */
#define LIES 0      /* whether a first operand can be read as it lies */
#define STEP (WIDE * WIDE)

typedef struct { const Laid *at; int64_t across; } First;

/* 32 rows of a first operand times 32 columns of a second, over k terms rounded up to 32 */
typedef struct { First a; const Laid *b; int64_t k; } Part;

/* Sums in registers: some rows of COLUMNS columns */
#if defined(__AVX512F__)
#define LANE_BYTES 64
#define COLUMNS 32
#elif defined(__AVX__)
#define LANE_BYTES 32
#define COLUMNS 16
#else
#define LANE_BYTES 16
#define COLUMNS 16
#endif
typedef float lanes __attribute__((vector_size(LANE_BYTES)));
typedef lanes lanes_at __attribute__((aligned(4), may_alias));
#define VECTORS (COLUMNS * 4 / LANE_BYTES)
#define NEXT 64 /* terms at a time: both operands' stay in the first cache */

static inline First first_laid_out(const Laid *at, int64_t across) { return (First){at, across}; }

static inline __attribute__((always_inline)) void write_row(const Waiting *w, int64_t i) {
    const Result *out = w->out;
    int64_t start = (w->row + i) * out->stride + w->column;
    const float *from = w->block + i * WIDE;
    if (w->columns < WIDE) {
        for (int64_t j = 0; j < w->columns; j++)
            if (out->wide)
                out->wide[start + j] += from[j];
            else
                out->narrow[start + j] = narrow(from[j] + (out->add ? wide(out->add[start + j]) : 0.0f) +
                                                (out->bias ? wide(out->bias[w->column + j]) : 0.0f));
        return;
    }
    for (int64_t j = 0; j < WIDE; j += LANES) {
        floats x = load(from + j);
        if (out->wide) {
            store(out->wide + start + j, x + load(out->wide + start + j));
            continue;
        }
        if (out->add) x += load_wide(out->add + start + j);
        if (out->bias) x += load_wide(out->bias + w->column + j);
        store_narrow(out->narrow + start + j, x);
    }
}

typedef float quad __attribute__((vector_size(16)));
typedef uint32_t quad_words __attribute__((vector_size(16)));
typedef uint16_t quad_halves __attribute__((vector_size(8)));

#ifdef __clang__
#define SHUFFLE_4(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE_4(a, b, ...) __builtin_shuffle(a, b, (quad_words){__VA_ARGS__})
#endif

/* 4 rows of 4 terms -> 4 terms, `WIDE` apart, of 4 rows */
static inline __attribute__((always_inline)) void turn(const bf16 *at, int64_t stride, float *out) {
    quad x[4], y[4];
    UNROLL
    for (int i = 0; i < 4; i++) {
        quad_halves half;
        memcpy(&half, at + i * stride, sizeof half);
        x[i] = (quad)(__builtin_convertvector(half, quad_words) << 16);
    }
    y[0] = SHUFFLE_4(x[0], x[1], 0, 4, 1, 5), y[1] = SHUFFLE_4(x[0], x[1], 2, 6, 3, 7);
    y[2] = SHUFFLE_4(x[2], x[3], 0, 4, 1, 5), y[3] = SHUFFLE_4(x[2], x[3], 2, 6, 3, 7);
    UNROLL
    for (int i = 0; i < 2; i++) {
        quad low = SHUFFLE_4(y[i], y[i + 2], 0, 1, 4, 5), high = SHUFFLE_4(y[i], y[i + 2], 2, 3, 6, 7);
        memcpy(out + 2 * i * WIDE, &low, sizeof low);
        memcpy(out + (2 * i + 1) * WIDE, &high, sizeof high);
    }
}

/* 32 of n from `first`, 32 of k from `from`; beyond `n` and `k` are zeros */
static inline __attribute__((always_inline)) void lay_out_step(
    const Side *s, int64_t n, int64_t k, int64_t first, int64_t from, int second, Laid *out) {
    int64_t rows = n - first < WIDE ? n - first : WIDE, terms = k - from < WIDE ? k - from : WIDE;
    const bf16 *at = s->across ? s->at + from * s->stride + first : s->at + first * s->stride + from;
    int64_t lines = s->across ? terms : rows, length = s->across ? rows : terms;
    int turned = second && !s->across;
    if (lines < WIDE || length < WIDE) {
        memset(out, 0, STEP * sizeof *out);
        for (int64_t i = 0; i < lines; i++)
            for (int64_t j = 0; j < length; j++) out[turned ? j * WIDE + i : i * WIDE + j] = wide(at[i * s->stride + j]);
    } else if (turned) {
        for (int64_t i = 0; i < WIDE; i += 4)
            for (int64_t j = 0; j < WIDE; j += 4) turn(at + i * s->stride + j, s->stride, out + j * WIDE + i);
    } else
        for (int64_t i = 0; i < WIDE; i++)
            for (int64_t j = 0; j < WIDE; j += LANES) store(out + i * WIDE + j, load_wide(at + i * s->stride + j));
}

/* Rows `stride` apart; k is a multiple of 32. They are laid out in `space` all the same */
static inline First first_as_it_lies(const bf16 *at, int64_t stride, int64_t k, Laid *space) {
    Side s = {at, stride, 0};
    for (int64_t from = 0; from < k; from += WIDE) lay_out_step(&s, WIDE, k, 0, from, 0, space + from * WIDE);
    return first_laid_out(space, 0);
}

static inline __attribute__((always_inline)) void add_rows(
    int rows, const float *a, int across, const float *b, int64_t k, float *c, int64_t stride, int add) {
    lanes sums[8][VECTORS];
    int64_t row = across ? 1 : WIDE, term = across ? WIDE : 1;
    UNROLL
    for (int r = 0; r < rows; r++)
        UNROLL
        for (int v = 0; v < VECTORS; v++)
            sums[r][v] = add ? (lanes) * (const lanes_at *)(c + r * stride + v * (COLUMNS / VECTORS)) : (lanes){0};
    for (int64_t from = 0; from < k; from += WIDE, a += STEP, b += STEP)
        for (int64_t t = 0; t < WIDE; t++) {
            lanes in[VECTORS];
            UNROLL
            for (int v = 0; v < VECTORS; v++) in[v] = *(const lanes_at *)(b + t * WIDE + v * (COLUMNS / VECTORS));
            UNROLL
            for (int r = 0; r < rows; r++)
                UNROLL
                for (int v = 0; v < VECTORS; v++) sums[r][v] += a[r * row + t * term] * in[v];
        }
    UNROLL
    for (int r = 0; r < rows; r++)
        UNROLL
        for (int v = 0; v < VECTORS; v++) *(lanes_at *)(c + r * stride + v * (COLUMNS / VECTORS)) = sums[r][v];
}

/* At least `rows` rows of COLUMNS columns, as many at a time as there are registers for their sums */
static inline __attribute__((always_inline)) void add_columns(
    const float *a, int across, const float *b, int64_t k, int64_t rows, float *c, int64_t stride, int add) {
    int64_t row = across ? 1 : WIDE;
#ifdef __AVX512F__
    for (int r = 0; r < rows; r += 8) add_rows(8, a + r * row, across, b, k, c + r * stride, stride, add);
#else
    for (int r = 0; r < 12 && r < rows; r += 6) add_rows(6, a + r * row, across, b, k, c + r * stride, stride, add);
    for (int r = 12; r < rows; r += 5) add_rows(5, a + r * row, across, b, k, c + r * stride, stride, add);
#endif
}

static inline void block_product(
    const Part *parts, int count, int64_t rows, float *c, int64_t stride, int add, Waiting *waiting) {
    for (int p = 0; p < count; p++) {
        int64_t all = up(parts[p].k);
        for (int64_t from = 0; from < all; from += NEXT, add = 1) {
            int64_t k = all - from < NEXT ? all - from : NEXT;
            const float *a = parts[p].a.at + from * WIDE, *b = parts[p].b + from * WIDE;
            for (int column = 0; column < WIDE; column += COLUMNS)
                if (parts[p].a.across)
                    add_columns(a, 1, b + column, k, rows, c + column, stride, add);
                else
                    add_columns(a, 0, b + column, k, rows, c + column, stride, add);
        }
    }
    write_some(waiting, WIDE);
}
#endif
