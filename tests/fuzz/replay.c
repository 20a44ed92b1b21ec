/* Runs a fuzz target over files: what libFuzzer does with a corpus, with any compiler. Exits 1 if
 * no file was given. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static int replay(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f) return 0;
    size_t room = 1 << 20, size;
    uint8_t *bytes = malloc(room), *exact;
    size = bytes ? fread(bytes, 1, room, f) : 0;
    fclose(f);
    exact = malloc(size ? size : 1);
    if (bytes && exact) {
        memcpy(exact, bytes, size);
        LLVMFuzzerTestOneInput(exact, size);
    }
    free(exact);
    free(bytes);
    return 1;
}

int main(int argc, char **argv)
{
    int n = 0;
    for (int i = 1; i < argc; i++) {
        DIR *d = opendir(argv[i]);
        if (!d) {
            n += replay(argv[i]);
            continue;
        }
        for (struct dirent *e; (e = readdir(d));) {
            char path[4096];
            snprintf(path, sizeof path, "%s/%s", argv[i], e->d_name);
            if (e->d_name[0] != '.') n += replay(path);
        }
        closedir(d);
    }
    printf("%d passed, 0 failed\n", n);
    return n == 0;
}
