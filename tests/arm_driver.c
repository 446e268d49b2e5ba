/* Calls one entry point of the kernels with arguments from a file, so that kernels built for another processor can be run
   under an emulator: driver LIBRARY ENTRY FILE. The file holds the number of arguments, then each: its kind (0: an integer, 1:
   bytes), its size or value, the bytes, how many addresses of other arguments stand in it, and each one's place and whose
   it is. All bytes are written back, and behind them what the entry point returned. Its own arguments come first; it does
   not look at the others. Where integers and addresses share registers, as on AArch64, every entry point is a
   function of such. */

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 16
#define PARTS 512
typedef int64_t (*Entry)(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t,
                         int64_t, int64_t, int64_t, int64_t, int64_t);

static int64_t number(FILE *file) {
    int64_t x;
    if (fread(&x, sizeof x, 1, file) != 1) exit(3);
    return x;
}

int main(int count, char **words) {
    static int64_t a[PARTS], sizes[PARTS], places[PARTS][PARTS], whose[PARTS][PARTS], pointers[PARTS];
    FILE *file = count == 4 ? fopen(words[3], "r+b") : NULL;
    void *library = file ? dlopen(words[1], RTLD_NOW) : NULL;
    Entry entry = library ? (Entry)(uintptr_t)dlsym(library, words[2]) : NULL;
    if (!entry) return 2;
    int64_t arguments = number(file);
    if (arguments > PARTS) return 5;
    for (int64_t i = 0; i < arguments; i++) {
        int64_t kind = number(file), size = number(file);
        a[i] = size;
        if (!kind) continue;
        sizes[i] = size, a[i] = (int64_t)(uintptr_t)aligned_alloc(64, (size + 127) / 64 * 64);
        if (fread((void *)(uintptr_t)a[i], 1, size, file) != (size_t)size) return 3;
        pointers[i] = number(file);
        if (pointers[i] > PARTS) return 5;
        for (int64_t p = 0; p < pointers[i]; p++) places[i][p] = number(file), whose[i][p] = number(file);
    }
    for (int64_t i = 0; i < arguments; i++)
        for (int64_t p = 0; p < pointers[i]; p++) memcpy((char *)(uintptr_t)a[i] + places[i][p], &a[whose[i][p]], 8);
    int64_t code = entry(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11], a[12], a[13], a[14], a[15]);
    rewind(file);
    for (int64_t i = 0; i < arguments; i++)
        if (sizes[i] && fwrite((void *)(uintptr_t)a[i], 1, sizes[i], file) != (size_t)sizes[i]) return 4;
    if (fwrite(&code, sizeof code, 1, file) != 1) return 4;
    fclose(file);
    return 0;
}
