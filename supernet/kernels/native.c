/* Loops of a CPU training step that torch runs slowly, for channels-last (NHWC) tensors.
 *
 * Compiled by native.py once with REAL=float and once with REAL=double (the tests' precision). Channels come in
 * multiples of 8. Every function works on one slice of the batch, keeps no state and adds in a fixed order.
 * Vectors are GCC's and Clang's `vector_size`: the compiler maps 32 bytes to AVX, to two NEON registers, and so on. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef REAL vec __attribute__((vector_size(32), aligned(sizeof(REAL)), may_alias));
typedef __typeof__((vec){0} > (vec){0}) mask; /* integers as wide as REAL: all bits, or none */
typedef __typeof__((vec){0} > (vec){0}) mask;
enum { LANES = 32 / sizeof(REAL) };
#define AT(pointer) (*(vec *)(pointer))
#define INLINE static inline __attribute__((always_inline))

/* --- weight gradient of a depthwise convolution -------------------------------------------------------------- */

/* One sample, NV·LANES channels: out[kh, kw, c] += Σ g[oh, ow, c] · x[oh·S + kh − K/2, ow·S + kw − K/2, c].
 * Each input row is copied once between zero columns; then K·NV sums stay in registers along an output row. */
INLINE void weight_grad_block(const int K, const int NV, const REAL *x, const REAL *g, REAL *out, REAL *row, int64_t H,
                              int64_t W, int64_t C, int64_t Ho, int64_t Wo, int64_t S) {
    const int P = K / 2, width = NV * LANES;
    vec sum[25 * 2] = {0};
    for (int64_t h = 0; h < H; h++) {
        for (int64_t w = 0; w < W; w++)
            for (int v = 0; v < NV; v++) AT(row + (w + P) * width + v * LANES) = AT(x + (h * W + w) * C + v * LANES);
        for (int kh = 0; kh < K; kh++) {
            const int64_t top = h + P - kh;
            if (top < 0 || top % S || top / S >= Ho) continue;
            const REAL *gp = g + top / S * Wo * C, *rp = row;
            vec s[5][2];
            for (int kw = 0; kw < K; kw++)
                for (int v = 0; v < NV; v++) s[kw][v] = sum[(kh * K + kw) * NV + v];
            for (int64_t ow = 0; ow < Wo; ow++, gp += C, rp += S * width)
                for (int v = 0; v < NV; v++) {
                    const vec gv = AT(gp + v * LANES);
                    for (int kw = 0; kw < K; kw++) s[kw][v] += gv * AT(rp + kw * width + v * LANES);
                }
            for (int kw = 0; kw < K; kw++)
                for (int v = 0; v < NV; v++) sum[(kh * K + kw) * NV + v] = s[kw][v];
        }
    }
    for (int t = 0; t < K * K; t++)
        for (int v = 0; v < NV; v++) AT(out + t * C + v * LANES) += sum[t * NV + v];
}

/* Reads n values in order: the block loops above jump through a sample, which a processor fetches poorly from memory. */
static REAL fetch(const REAL *x, int64_t n) {
    vec sum = {0};
    for (int64_t i = 0; i < n; i += LANES) sum += AT(x + i);
    return sum[0];
}

enum { FETCH_BYTES = 2 << 20 }; /* samples beyond this would leave the caches before they are used */

/* x (B, H, W, C), g (B, Ho, Wo, C) → out (K, K, C), which is overwritten; K is 3 or 5. Returns 1 without memory, or 0. */
int depthwise_weight_grad(const REAL *x, const REAL *g, REAL *out, int64_t B, int64_t H, int64_t W, int64_t C, int64_t Ho,
                          int64_t Wo, int64_t K, int64_t S) {
    enum { PAIR = 2 * LANES };
    const int64_t in = H * W * C, of = Ho * Wo * C, pairs = C / PAIR * PAIR;
    const size_t row_bytes = sizeof(REAL) * (size_t)(W + K) * PAIR;
    REAL *wide = calloc(2, row_bytes), *narrow = (REAL *)((char *)wide + row_bytes); /* each keeps its own zero columns */
    volatile REAL sink;
    if (!wide) return 1;
    memset(out, 0, sizeof(REAL) * (size_t)(K * K * C));
    for (int64_t b = 0; b < B; b++, x += in, g += of) {
        if ((in + of) * (int64_t)sizeof(REAL) <= FETCH_BYTES) sink = fetch(x, in) + fetch(g, of), (void)sink;
        for (int64_t c = 0; c < pairs; c += PAIR)
            if (K == 5)
                weight_grad_block(5, 2, x + c, g + c, out + c, wide, H, W, C, Ho, Wo, S);
            else
                weight_grad_block(3, 2, x + c, g + c, out + c, wide, H, W, C, Ho, Wo, S);
        for (int64_t c = pairs; c < C; c += LANES)
            if (K == 5)
                weight_grad_block(5, 1, x + c, g + c, out + c, narrow, H, W, C, Ho, Wo, S);
            else
                weight_grad_block(3, 1, x + c, g + c, out + c, narrow, H, W, C, Ho, Wo, S);
    }
    free(wide);
    return 0;
}

/* --- batch normalisation of a batch, with ReLU ----------------------------------------------------------------- */

/* x (N, C): rows are pixels, read in order. Sums run over CHUNK rows in REAL, and over chunks in double.
 * `floor` is 0 for ReLU and −∞ for none; NaN passes, as in torch. */
enum { CHUNK = 64 };

/* mean[c], and squares[c] = Σ (x − mean)², from sums shifted by the first row. Returns 1 without memory, or 0. */
int norm_statistics(const REAL *x, double *mean, double *squares, int64_t N, int64_t C) {
    REAL *sum = malloc(2 * sizeof(REAL) * (size_t)C), *square = sum + C;
    if (!sum) return 1;
    const REAL *first = x;
    for (int64_t c = 0; c < C; c++) mean[c] = squares[c] = 0;
    for (int64_t n = 0; n < N; n += CHUNK) {
        memset(sum, 0, 2 * sizeof(REAL) * (size_t)C);
        for (int64_t r = n; r < N && r < n + CHUNK; r++, x += C)
            for (int64_t c = 0; c < C; c += LANES) {
                const vec d = AT(x + c) - AT(first + c);
                AT(sum + c) += d;
                AT(square + c) += d * d;
            }
        for (int64_t c = 0; c < C; c++) mean[c] += sum[c], squares[c] += square[c];
    }
    for (int64_t c = 0; c < C; c++) {
        squares[c] -= mean[c] * mean[c] / (double)N;
        mean[c] = first[c] + mean[c] / (double)N;
    }
    free(sum);
    return 0;
}

/* y = max(x·scale + shift, floor). */
int norm_forward(const REAL *x, const REAL *scale, const REAL *shift, REAL *y, int64_t N, int64_t C, double floor) {
    const vec low = (vec){0} + (REAL)floor;
    for (int64_t n = 0; n < N; n++, x += C, y += C)
        for (int64_t c = 0; c < C; c += LANES) {
            const vec z = AT(x + c) * AT(scale + c) + AT(shift + c);
            const mask off = z <= low;
            AT(y + c) = (vec)((off & (mask)low) | (~off & (mask)z));
        }
    return 0;
}

/* g where the ReLU let the value through, else 0. */
INLINE vec passed(vec x, vec scale, vec shift, vec low, vec g) { return (vec)(~(x * scale + shift <= low) & (mask)g); }

/* sums[c] = Σ g and products[c] = Σ g·(x − mean), of the gradients that passed. Returns 1 without memory, or 0. */
int norm_backward_sums(const REAL *x, const REAL *g, const REAL *scale, const REAL *shift, const REAL *mean, double *sums,
                       double *products, int64_t N, int64_t C, double floor) {
    const vec low = (vec){0} + (REAL)floor;
    REAL *sum = malloc(2 * sizeof(REAL) * (size_t)C), *product = sum + C;
    if (!sum) return 1;
    for (int64_t c = 0; c < C; c++) sums[c] = products[c] = 0;
    for (int64_t n = 0; n < N; n += CHUNK) {
        memset(sum, 0, 2 * sizeof(REAL) * (size_t)C);
        for (int64_t r = n; r < N && r < n + CHUNK; r++, x += C, g += C)
            for (int64_t c = 0; c < C; c += LANES) {
                const vec p = passed(AT(x + c), AT(scale + c), AT(shift + c), low, AT(g + c));
                AT(sum + c) += p;
                AT(product + c) += p * (AT(x + c) - AT(mean + c));
            }
        for (int64_t c = 0; c < C; c++) sums[c] += sum[c], products[c] += product[c];
    }
    free(sum);
    return 0;
}

/* dx = scale·(g that passed) + slope·x + offset. */
int norm_backward(const REAL *x, const REAL *g, const REAL *scale, const REAL *shift, const REAL *slope, const REAL *offset,
                  REAL *dx, int64_t N, int64_t C, double floor) {
    const vec low = (vec){0} + (REAL)floor;
    for (int64_t n = 0; n < N; n++, x += C, g += C, dx += C)
        for (int64_t c = 0; c < C; c += LANES) {
            const vec p = passed(AT(x + c), AT(scale + c), AT(shift + c), low, AT(g + c));
            AT(dx + c) = AT(scale + c) * p + AT(slope + c) * AT(x + c) + AT(offset + c);
        }
    return 0;
}
