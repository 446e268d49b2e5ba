/* Blocks of products for processors that do not multiply bfloat16: operands are widened to float32 as they are laid out,
   and multiplied in vectors of the compiler's own (AVX2 with FMA, AVX512 without BF16, NEON). An operand's 32 rows are,
   for every 32 terms, [32 terms][32 rows]; of a first operand that does not lie across, [32 rows][32 terms]. */

#ifndef STEERSMAN_PLAIN_H
#define STEERSMAN_PLAIN_H

typedef float Laid; /* what operands are laid out in */
#define LIES 0      /* whether a first operand can be read as it lies */
#define BLOCK_OF_TERMS (WIDE * WIDE)

typedef struct { const Laid *at; int64_t across; } First;

/* 32 rows of a first operand times 32 columns of a second, over k terms rounded up to 32 */
typedef struct { First a; const Laid *b; int64_t k; } Part;

/* Sums in registers: ROWS rows (or one less) of COLUMNS columns, or twice as many of half as many */
#if defined(__AVX512F__)
#define LANE_BYTES 64
#define COLUMNS 32
#define ROWS 8
#elif defined(__AVX__)
#define LANE_BYTES 32
#define COLUMNS 16
#define ROWS 6
#else
#define LANE_BYTES 16
#define COLUMNS 16
#define ROWS 6
#endif
typedef float lanes __attribute__((vector_size(LANE_BYTES)));
typedef lanes lanes_at __attribute__((aligned(4), may_alias));
typedef int16_t lane_shorts __attribute__((vector_size(LANE_BYTES / 2)));
typedef int32_t lane_ints __attribute__((vector_size(LANE_BYTES)));
typedef uint32_t lane_words __attribute__((vector_size(LANE_BYTES)));
typedef uint16_t lane_halves __attribute__((vector_size(LANE_BYTES / 2)));
typedef int8_t lane_bytes __attribute__((vector_size(LANE_BYTES / 4)));
#define LANE (LANE_BYTES / 4) /* numbers of a vector */
#define VECTORS (COLUMNS * 4 / LANE_BYTES)
#define NEXT 64 /* terms at a time: both operands' stay in the first cache */

/* 32 numbers in float32. By vectors of the processor's own length: of longer ones gcc makes detours over the stack */
static inline __attribute__((always_inline)) void widen_step(const bf16 *from, float *to) {
    UNROLL
    for (int i = 0; i < WIDE; i += LANE) {
        lane_halves half;
        memcpy(&half, from + i, sizeof half);
        *(lanes_at *)(to + i) = (lanes)(__builtin_convertvector(half, lane_words) << 16);
    }
}
static inline __attribute__((always_inline)) void widen_int8_step(const int8_t *from, float *to) {
    UNROLL
    for (int i = 0; i < WIDE; i += LANE) {
        lane_bytes bytes;
        memcpy(&bytes, from + i, sizeof bytes);
        lane_shorts shorts = __builtin_convertvector(bytes, lane_shorts); /* at once, gcc converts number by number */
        *(lanes_at *)(to + i) = __builtin_convertvector(__builtin_convertvector(shorts, lane_ints), lanes);
    }
}

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

/* Rows of a square -> its columns */
static inline __attribute__((always_inline)) void turn_quads(const quad x[4], quad out[4]) {
    quad y[4];
    y[0] = SHUFFLE_4(x[0], x[1], 0, 4, 1, 5), y[1] = SHUFFLE_4(x[0], x[1], 2, 6, 3, 7);
    y[2] = SHUFFLE_4(x[2], x[3], 0, 4, 1, 5), y[3] = SHUFFLE_4(x[2], x[3], 2, 6, 3, 7);
    UNROLL
    for (int i = 0; i < 2; i++) {
        out[2 * i] = SHUFFLE_4(y[i], y[i + 2], 0, 1, 4, 5);
        out[2 * i + 1] = SHUFFLE_4(y[i], y[i + 2], 2, 3, 6, 7);
    }
}

/* 4 rows of 4 terms -> 4 terms, `WIDE` apart, of 4 rows */
static inline __attribute__((always_inline)) void turn(const bf16 *at, int64_t stride, float *out) {
    quad x[4], turned[4];
    UNROLL
    for (int i = 0; i < 4; i++) {
        quad_halves half;
        memcpy(&half, at + i * stride, sizeof half);
        x[i] = (quad)(__builtin_convertvector(half, quad_words) << 16);
    }
    turn_quads(x, turned);
    UNROLL
    for (int i = 0; i < 4; i++) memcpy(out + i * WIDE, turned + i, sizeof turned[i]);
}

/* 32 of n from `first`, 32 of k from `from`; beyond `n` and `k` are zeros */
static inline __attribute__((always_inline)) void lay_out_step(
    const Side *s, int64_t n, int64_t k, int64_t first, int64_t from, int second, Laid *out) {
    int64_t rows = n - first < WIDE ? n - first : WIDE, terms = k - from < WIDE ? k - from : WIDE;
    const bf16 *at = s->across ? s->at + from * s->stride + first : s->at + first * s->stride + from;
    int64_t lines = s->across ? terms : rows, length = s->across ? rows : terms;
    int turned = second && !s->across;
    if (lines < WIDE || length < WIDE) {
        memset(out, 0, BLOCK_OF_TERMS * sizeof *out);
        for (int64_t i = 0; i < lines; i++)
            for (int64_t j = 0; j < length; j++) out[turned ? j * WIDE + i : i * WIDE + j] = wide(at[i * s->stride + j]);
    } else if (turned) {
        for (int64_t i = 0; i < WIDE; i += 4)
            for (int64_t j = 0; j < WIDE; j += 4) turn(at + i * s->stride + j, s->stride, out + j * WIDE + i);
    } else
        for (int64_t i = 0; i < WIDE; i++) widen_step(at + i * s->stride, out + i * WIDE);
}

/* Rows `stride` apart; k is a multiple of 32. They are laid out in `space` all the same */
static inline First first_as_it_lies(const bf16 *at, int64_t stride, int64_t k, Laid *space) {
    Side s = {at, stride, 0};
    for (int64_t from = 0; from < k; from += WIDE) lay_out_step(&s, WIDE, k, 0, from, 0, space + from * WIDE);
    return first_laid_out(space, 0);
}

/* `rows` rows of `vectors` vectors of columns */
static inline __attribute__((always_inline)) void add_rows(
    int rows, int vectors, const float *a, int across, const float *b, int64_t k, float *c, int64_t stride, int add) {
    lanes sums[2 * ROWS][VECTORS];
    int64_t row = across ? 1 : WIDE, term = across ? WIDE : 1;
    UNROLL
    for (int r = 0; r < rows; r++)
        UNROLL
        for (int v = 0; v < vectors; v++)
            sums[r][v] = add ? (lanes) * (const lanes_at *)(c + r * stride + v * (COLUMNS / VECTORS)) : (lanes){0};
    for (int64_t from = 0; from < k; from += WIDE, a += BLOCK_OF_TERMS, b += BLOCK_OF_TERMS)
        for (int64_t t = 0; t < WIDE; t++) {
            lanes in[VECTORS];
            UNROLL
            for (int v = 0; v < vectors; v++) in[v] = *(const lanes_at *)(b + t * WIDE + v * (COLUMNS / VECTORS));
            UNROLL
            for (int r = 0; r < rows; r++)
                UNROLL
                for (int v = 0; v < vectors; v++) sums[r][v] += a[r * row + t * term] * in[v];
        }
    UNROLL
    for (int r = 0; r < rows; r++)
        UNROLL
        for (int v = 0; v < vectors; v++) *(lanes_at *)(c + r * stride + v * (COLUMNS / VECTORS)) = sums[r][v];
}

/* At least `rows` rows of COLUMNS columns or of the first half of them, as many at a time as there are registers for
   their sums */
static inline __attribute__((always_inline)) void add_columns(
    const float *a, int across, const float *b, int64_t k, int64_t rows, int half, float *c, int64_t stride, int add) {
    int64_t row = across ? 1 : WIDE;
    int r = 0;
    if (half) {
        for (; r + 2 * ROWS <= WIDE && r < rows; r += 2 * ROWS)
            add_rows(2 * ROWS, VECTORS / 2, a + r * row, across, b, k, c + r * stride, stride, add);
        if (WIDE % (2 * ROWS) && r < rows)
            add_rows(WIDE % (2 * ROWS), VECTORS / 2, a + r * row, across, b, k, c + r * stride, stride, add);
        return;
    }
#if ROWS == 8
    for (; r < rows; r += 8) add_rows(8, VECTORS, a + r * row, across, b, k, c + r * stride, stride, add);
#else
    for (; r < 12 && r < rows; r += 6) add_rows(6, VECTORS, a + r * row, across, b, k, c + r * stride, stride, add);
    for (; r < rows; r += 5) add_rows(5, VECTORS, a + r * row, across, b, k, c + r * stride, stride, add);
#endif
}

/* Rows that are read soon: `bytes` of each for each of its terms */
typedef struct { const char *at; int64_t rows, stride, bytes; } Soon;

/* c [rows, columns] (+)= a [32, k] b [k, 32], laid out; what is beyond `rows` and `columns` may be written too */
static inline __attribute__((always_inline)) void add_products(
    const float *a, int across, const float *b, int64_t all, int64_t rows, int64_t columns, float *c, int64_t stride, int add, Soon soon) {
    for (int64_t from = 0; from < all; from += NEXT, add = 1) {
        int64_t k = all - from < NEXT ? all - from : NEXT, column = 0;
        for (int64_t r = 0; r < soon.rows; r++)
            for (int64_t at = from * soon.bytes; at < (from + k) * soon.bytes; at += 64)
                __builtin_prefetch(soon.at + r * soon.stride + at, 0, 2);
        const float *first = a + from * WIDE, *second = b + from * WIDE;
        for (; 2 * (columns - column) > COLUMNS; column += COLUMNS)
            add_columns(first, across, second + column, k, rows, 0, c + column, stride, add);
        if (column < columns) add_columns(first, across, second + column, k, rows, 1, c + column, stride, add);
    }
}

static inline void block_product(
    const Part *parts, int count, int64_t rows, float *c, int64_t stride, int add, Waiting *waiting) {
    for (int p = 0; p < count; p++, add = 1) {
        const Part *of = parts + p;
        if (of->a.across)
            add_products(of->a.at, 1, of->b, up(of->k), rows, WIDE, c, stride, add, (Soon){0});
        else
            add_products(of->a.at, 0, of->b, up(of->k), rows, WIDE, c, stride, add, (Soon){0});
    }
    write_some(waiting, WIDE);
}
#endif
