/* Loops of a CPU training step that torch runs slowly, for channels-last (NHWC) tensors.
 *
 * Compiled by native.py once with REAL=float and once with REAL=double (the tests' precision). Channels come in
 * multiples of 8. A batch is cut into SLICES, each summed by itself: a thread is given slices [first, last), and the result
 * is the same bit for bit at any number of threads. Functions that need memory return 1 without it, and else 0.
 *
 * Vectors are GCC's and Clang's `vector_size`: the compiler maps 32 bytes to AVX, to two NEON registers, and so on. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef REAL vec __attribute__((vector_size(32), aligned(sizeof(REAL)), may_alias));
typedef __typeof__((vec){0} > (vec){0}) mask; /* integers as wide as REAL: all bits, or none */
enum { LANES = 32 / sizeof(REAL) };
#define AT(pointer) (*(vec *)(pointer))
#define INLINE static inline __attribute__((always_inline))
enum { SLICES = 8 }; /* as in native.py */
#define BEGIN(count, slice) ((count) * (int64_t)(slice) / SLICES)

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

/* x (B, H, W, C), g (B, Ho, Wo, C) → partial (SLICES, K, K, C), which is overwritten; K is 3 or 5. */
int depthwise_weight_grad(const REAL *x, const REAL *g, REAL *partial, int64_t B, int64_t H, int64_t W, int64_t C, int64_t Ho,
                          int64_t Wo, int64_t K, int64_t S, int64_t first, int64_t last) {
    enum { PAIR = 2 * LANES };
    const int64_t in = H * W * C, of = Ho * Wo * C, pairs = C / PAIR * PAIR;
    const size_t row_bytes = sizeof(REAL) * (size_t)(W + K) * PAIR;
    REAL *wide = calloc(2, row_bytes), *narrow = (REAL *)((char *)wide + row_bytes); /* each keeps its own zero columns */
    volatile REAL sink;
    if (!wide) return 1;
    for (int64_t slice = first; slice < last; slice++) {
        REAL *out = partial + slice * K * K * C;
        memset(out, 0, sizeof(REAL) * (size_t)(K * K * C));
        for (int64_t b = BEGIN(B, slice); b < BEGIN(B, slice + 1); b++) {
            const REAL *xb = x + b * in, *gb = g + b * of;
            if ((in + of) * (int64_t)sizeof(REAL) <= FETCH_BYTES) sink = fetch(xb, in) + fetch(gb, of), (void)sink;
            for (int64_t c = 0; c < pairs; c += PAIR)
                if (K == 5)
                    weight_grad_block(5, 2, xb + c, gb + c, out + c, wide, H, W, C, Ho, Wo, S);
                else
                    weight_grad_block(3, 2, xb + c, gb + c, out + c, wide, H, W, C, Ho, Wo, S);
            for (int64_t c = pairs; c < C; c += LANES)
                if (K == 5)
                    weight_grad_block(5, 1, xb + c, gb + c, out + c, narrow, H, W, C, Ho, Wo, S);
                else
                    weight_grad_block(3, 1, xb + c, gb + c, out + c, narrow, H, W, C, Ho, Wo, S);
        }
    }
    free(wide);
    return 0;
}

/* --- batch normalisation of a batch, with ReLU ----------------------------------------------------------------- */

/* x (N, C): rows are pixels, read in order. Sums run over CHUNK rows in REAL, and over chunks in double.
 * `vectors` (4, C) holds mean, 1/std, scale and shift. `floor` is 0 for ReLU and −∞ for none; NaN passes, as in torch. */
enum { CHUNK = 64 };

/* partial (SLICES, 2, C): the sums of x − first row and of its square. */
int norm_sums(const REAL *x, double *partial, int64_t N, int64_t C, int64_t first, int64_t last) {
    REAL *sum = malloc(2 * sizeof(REAL) * (size_t)C), *square = sum + C;
    if (!sum) return 1;
    for (int64_t slice = first; slice < last; slice++) {
        double *total = partial + slice * 2 * C;
        const int64_t end = BEGIN(N, slice + 1);
        for (int64_t c = 0; c < 2 * C; c++) total[c] = 0;
        for (int64_t n = BEGIN(N, slice); n < end; n += CHUNK) {
            memset(sum, 0, 2 * sizeof(REAL) * (size_t)C);
            for (int64_t r = n; r < end && r < n + CHUNK; r++)
                for (int64_t c = 0; c < C; c += LANES) {
                    const vec d = AT(x + r * C + c) - AT(x + c);
                    AT(sum + c) += d;
                    AT(square + c) += d * d;
                }
            for (int64_t c = 0; c < 2 * C; c++) total[c] += sum[c];
        }
    }
    free(sum);
    return 0;
}

/* Sums to `vectors`; and the running statistics, whose variance is the unbiased one. */
void norm_vectors(const REAL *x, const double *partial, const REAL *weight, const REAL *bias, REAL *running_mean,
                  REAL *running_variance, REAL *vectors, int64_t N, int64_t C, double eps, double momentum) {
    for (int64_t c = 0; c < C; c++) {
        double sum = 0, square = 0;
        for (int slice = 0; slice < SLICES; slice++) sum += partial[2 * slice * C + c], square += partial[(2 * slice + 1) * C + c];
        const double mean = x[c] + sum / (double)N, squares = square - sum * sum / (double)N;
        const double variance = squares < 0 ? 0 : squares / (double)N, scale = weight[c] / sqrt(variance + eps);
        vectors[c] = (REAL)mean;
        vectors[C + c] = (REAL)(1 / sqrt(variance + eps));
        vectors[2 * C + c] = (REAL)scale;
        vectors[3 * C + c] = (REAL)(bias[c] - mean * scale);
        running_mean[c] += (REAL)(momentum * (mean - running_mean[c]));
        running_variance[c] += (REAL)(momentum * (variance * (double)N / (double)(N - 1) - running_variance[c]));
    }
}

/* y = max(x·scale + shift, floor). */
int norm_forward(const REAL *x, const REAL *vectors, REAL *y, int64_t N, int64_t C, double floor, int64_t first, int64_t last) {
    const REAL *scale = vectors + 2 * C, *shift = scale + C;
    const vec low = (vec){0} + (REAL)floor;
    for (int64_t n = BEGIN(N, first); n < BEGIN(N, last); n++)
        for (int64_t c = 0; c < C; c += LANES) {
            const vec z = AT(x + n * C + c) * AT(scale + c) + AT(shift + c);
            const mask off = z <= low;
            AT(y + n * C + c) = (vec)((off & (mask)low) | (~off & (mask)z));
        }
    return 0;
}

/* g where the ReLU let the value through, else 0. */
INLINE vec passed(vec x, vec scale, vec shift, vec low, vec g) { return (vec)(~(x * scale + shift <= low) & (mask)g); }

/* partial (SLICES, 2, C): Σ g and Σ g·(x − mean), of the gradients that passed. */
int norm_backward_sums(const REAL *x, const REAL *g, const REAL *vectors, double *partial, int64_t N, int64_t C, double floor,
                       int64_t first, int64_t last) {
    const REAL *scale = vectors + 2 * C, *shift = scale + C;
    const vec low = (vec){0} + (REAL)floor;
    REAL *sum = malloc(2 * sizeof(REAL) * (size_t)C), *product = sum + C;
    if (!sum) return 1;
    for (int64_t slice = first; slice < last; slice++) {
        double *total = partial + slice * 2 * C;
        const int64_t end = BEGIN(N, slice + 1);
        for (int64_t c = 0; c < 2 * C; c++) total[c] = 0;
        for (int64_t n = BEGIN(N, slice); n < end; n += CHUNK) {
            memset(sum, 0, 2 * sizeof(REAL) * (size_t)C);
            for (int64_t r = n; r < end && r < n + CHUNK; r++)
                for (int64_t c = 0; c < C; c += LANES) {
                    const vec xv = AT(x + r * C + c), p = passed(xv, AT(scale + c), AT(shift + c), low, AT(g + r * C + c));
                    AT(sum + c) += p;
                    AT(product + c) += p * (xv - AT(vectors + c));
                }
            for (int64_t c = 0; c < 2 * C; c++) total[c] += sum[c];
        }
    }
    free(sum);
    return 0;
}

/* Sums to `grads` (4, C): the gradients of weight and bias, and norm_backward's slope and offset. */
void norm_backward_vectors(const double *partial, const REAL *vectors, REAL *grads, int64_t N, int64_t C) {
    for (int64_t c = 0; c < C; c++) {
        const double mean = vectors[c], inverse_std = vectors[C + c], scale = vectors[2 * C + c];
        double sum = 0, product = 0;
        for (int slice = 0; slice < SLICES; slice++) sum += partial[2 * slice * C + c], product += partial[(2 * slice + 1) * C + c];
        const double slope = -scale * inverse_std * inverse_std * product / (double)N;
        grads[c] = (REAL)(product * inverse_std);
        grads[C + c] = (REAL)sum;
        grads[2 * C + c] = (REAL)slope;
        grads[3 * C + c] = (REAL)(-scale * sum / (double)N - slope * mean);
    }
}

/* dx = scale·(g that passed) + slope·x + offset. */
int norm_backward(const REAL *x, const REAL *g, const REAL *vectors, const REAL *grads, REAL *dx, int64_t N, int64_t C,
                  double floor, int64_t first, int64_t last) {
    const REAL *scale = vectors + 2 * C, *shift = scale + C, *slope = grads + 2 * C, *offset = slope + C;
    const vec low = (vec){0} + (REAL)floor;
    for (int64_t n = BEGIN(N, first); n < BEGIN(N, last); n++)
        for (int64_t c = 0; c < C; c += LANES) {
            const vec xv = AT(x + n * C + c), p = passed(xv, AT(scale + c), AT(shift + c), low, AT(g + n * C + c));
            AT(dx + n * C + c) = AT(scale + c) * p + AT(slope + c) * xv + AT(offset + c);
        }
    return 0;
}
