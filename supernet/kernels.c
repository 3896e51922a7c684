/* Loops of a CPU training step that torch runs slowly, for channels-last (NHWC) tensors.
 *
 * Compiled by native.py once with REAL=float and once with REAL=double (the tests' precision). Channels come in
 * multiples of 8. Every function works on one slice of the batch, keeps no state and adds in a fixed order.
 * Vectors are GCC's and Clang's `vector_size`: the compiler maps 32 bytes to AVX, to two NEON registers, and so on. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef REAL vec __attribute__((vector_size(32), aligned(sizeof(REAL)), may_alias));
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

/* x (B, H, W, C), g (B, Ho, Wo, C) → out (K, K, C), which is overwritten. Returns 0, or 1 without memory. */
int depthwise_weight_grad(const REAL *x, const REAL *g, REAL *out, int64_t B, int64_t H, int64_t W, int64_t C, int64_t Ho,
                          int64_t Wo, int64_t K, int64_t S) {
    REAL *row = calloc((size_t)(W + K) * 2 * LANES, sizeof(REAL));
    if (!row) return 1;
    memset(out, 0, sizeof(REAL) * (size_t)(K * K * C));
    for (int64_t b = 0; b < B; b++, x += H * W * C, g += Ho * Wo * C) {
        int64_t c = 0;
        if (K == 5)
            for (; c + 2 * LANES <= C; c += 2 * LANES) weight_grad_block(5, 2, x + c, g + c, out + c, row, H, W, C, Ho, Wo, S);
        else
            for (; c + 2 * LANES <= C; c += 2 * LANES) weight_grad_block(3, 2, x + c, g + c, out + c, row, H, W, C, Ho, Wo, S);
        if (c < C) memset(row, 0, sizeof(REAL) * (size_t)(W + K) * 2 * LANES);
        if (c < C && K == 5) weight_grad_block(5, 1, x + c, g + c, out + c, row, H, W, C, Ho, Wo, S);
        if (c < C && K == 3) weight_grad_block(3, 1, x + c, g + c, out + c, row, H, W, C, Ho, Wo, S);
        if (c < C) memset(row, 0, sizeof(REAL) * (size_t)(W + K) * 2 * LANES);
    }
    free(row);
    return 0;
}
