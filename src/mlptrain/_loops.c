/* Compiled forms of the loops between the matrix products.
 *
 * Each reads memory once where NumPy's operations read it several times, and does the same operations in float32, in
 * the same order: the result is the same to the last bit. So the compiler must not contract a multiplication and an
 * addition, reorder sums, or replace divisions and roots by estimates (see the flags in setup.py).
 *
 * A function returns whether it did the work. It does not if an array is not contiguous float32, if shapes or classes
 * do not fit, or if an array that it writes to overlaps another one; NumPy's form in nn/kernels.py, the definition that
 * these loops are tested against, takes everything.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <float.h>
#include <math.h>
#include <string.h>

#if FLT_EVAL_METHOD != 0
#error "float32 is computed with more digits here: the bits would not be NumPy's"
#endif

/* One binary for all x86 processors: the loader picks the clone for the processor at hand. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__has_attribute)
#if __has_attribute(target_clones)
#define ANY_PROCESSOR __attribute__((target_clones("avx512f", "avx2", "default")))
#endif
#endif
#ifndef ANY_PROCESSOR
#define ANY_PROCESSOR
#endif

/* ---- the loops: n rows, k columns ---- */

/* z[i][j] += bias[j] */
ANY_PROCESSOR
static void add_bias(Py_ssize_t n, Py_ssize_t k, float *restrict z, const float *restrict bias)
{
    for (Py_ssize_t i = 0; i < n; i++, z += k)
        for (Py_ssize_t j = 0; j < k; j++)
            z[j] += bias[j];
}

/* out = max(0, z); NaN stays NaN */
ANY_PROCESSOR
static void relu(Py_ssize_t size, const float *restrict z, float *restrict out)
{
    for (Py_ssize_t i = 0; i < size; i++)
        out[i] = z[i] <= 0 ? 0 : z[i];
}

/* grad *= `inside` where low < z < high, `outside` elsewhere; an infinite `high` is no limit. A product even with 0 and
 * 1, so that a gradient that is not finite stays so */
ANY_PROCESSOR
static void gate_gradient(Py_ssize_t size, const float *restrict z, float low, float high, float inside, float outside,
                          float *restrict grad)
{
    int unlimited = high == INFINITY;
    for (Py_ssize_t i = 0; i < size; i++)
        grad[i] *= z[i] > low && (z[i] < high || unlimited) ? inside : outside;
}

/* out = z minus the maximum of its row; NaN stays NaN, and so does the sum of its row */
ANY_PROCESSOR
static void subtract_row_max(Py_ssize_t n, Py_ssize_t k, const float *restrict z, float *restrict out)
{
    for (Py_ssize_t i = 0; i < n; i++, z += k, out += k) {
        float largest = z[0];
        for (Py_ssize_t j = 1; j < k; j++)
            largest = z[j] > largest ? z[j] : largest;
        for (Py_ssize_t j = 0; j < k; j++)
            out[j] = z[j] - largest;
    }
}

/* sums = the sum of each row, from the first number to the last */
ANY_PROCESSOR
static void row_sums(Py_ssize_t n, Py_ssize_t k, const float *restrict values, float *restrict sums)
{
    for (Py_ssize_t i = 0; i < n; i++, values += k) {
        float sum = values[0];
        for (Py_ssize_t j = 1; j < k; j++)
            sum += values[j];
        sums[i] = sum;
    }
}

/* With p = e / sum and the target q, which is `high` for the true class and `low` for the others:
 * loss[i] = sum of q log p over row i, grad = share p - q. The targets repeat after `period` rows: members share them */
ANY_PROCESSOR
static void softmax_cross_entropy(Py_ssize_t n, Py_ssize_t k, const float *restrict shifted, const float *restrict e,
                                  const float *restrict sum, const float *restrict log_sum,
                                  const Py_ssize_t *restrict target, Py_ssize_t period, float low, float high,
                                  float share, float *restrict grad, double *restrict loss)
{
    Py_ssize_t t = 0;
    for (Py_ssize_t i = 0; i < n; i++, shifted += k, e += k, grad += k) {
        float factor = share / sum[i];
        Py_ssize_t true_class = target[t];
        t = t + 1 == period ? 0 : t + 1;
        double row = 0;
        for (Py_ssize_t j = 0; j < k; j++) {
            float q = j == true_class ? high : low;
            row += (shifted[j] - log_sum[i]) * q;
            grad[j] = e[j] * factor - q;
        }
        loss[i] = row;
    }
}

/* One step of Adam, in the notation of optim/optimizers.py */
ANY_PROCESSOR
static void adam(Py_ssize_t size, float *restrict w, const float *restrict g, float *restrict m, float *restrict v,
                 float beta1, float beta2, float eps_root, float eps, float rate)
{
    for (Py_ssize_t i = 0; i < size; i++) {
        m[i] = m[i] * beta1 + g[i];
        v[i] = v[i] * beta2 + g[i] * g[i];
        w[i] -= m[i] / (sqrtf(v[i] + eps_root) + eps) * rate;
    }
}

/* ---- the interface to Python: arrays, then numbers; each function returns whether it did the work ---- */

typedef struct {
    int held;
    const char *kinds;
    Py_buffer arrays[7];
    float numbers[5];
} Arguments;

static PyObject *release(Arguments *given, int done)
{
    while (given->held)
        PyBuffer_Release(&given->arrays[--given->held]);
    return PyErr_Occurred() ? NULL : PyBool_FromLong(done);
}

/* Number of elements of an array. */
static Py_ssize_t size(const Py_buffer *array) { return array->len / array->itemsize; }

static int is_written(char kind) { return kind == 'w' || kind == 'd'; }

/* Acquire a buffer of the requested kind: r float32 to read, w float32 to write, d float64 to write, i indices. */
static int acquire(PyObject *object, char kind, Py_buffer *array)
{
    int flags = PyBUF_FORMAT | PyBUF_C_CONTIGUOUS | (is_written(kind) ? PyBUF_WRITABLE : 0);
    if (PyObject_GetBuffer(object, array, flags) < 0) {
        PyErr_Clear();
        return 0;
    }
    const char *formats = kind == 'i' ? "nlq" : kind == 'd' ? "d" : "f";
    size_t width = kind == 'i' ? sizeof(Py_ssize_t) : kind == 'd' ? sizeof(double) : sizeof(float);
    if (array->itemsize == (Py_ssize_t)width && strlen(array->format) == 1 && strchr(formats, *array->format))
        return 1;
    PyBuffer_Release(array);
    return 0;
}

/* Whether an output array shares memory with another array. */
static int overlapping(const Arguments *given)
{
    for (int i = 0; i < given->held; i++)
        for (int j = 0; j < i; j++) {
            const char *one = given->arrays[i].buf, *other = given->arrays[j].buf;
            if ((is_written(given->kinds[i]) || is_written(given->kinds[j])) &&
                one < other + given->arrays[j].len && other < one + given->arrays[i].len)
                return 1;
        }
    return 0;
}

/* Whether `objects` are an array of each of the `kinds`, the first with at least `dimensions` axes, then `numbers`
 * numbers; if so, their buffers are held until `release`. */
static int take(Arguments *given, const char *kinds, int dimensions, int numbers, PyObject *const *objects,
                Py_ssize_t count)
{
    int arrays = (int)strlen(kinds);
    given->held = 0;
    given->kinds = kinds;
    if (count != arrays + numbers) {
        PyErr_Format(PyExc_TypeError, "takes %d arrays and %d numbers", arrays, numbers);
        return 0;
    }
    for (int i = 0; i < arrays; i++, given->held++)
        if (!acquire(objects[i], kinds[i], &given->arrays[i]))
            return 0;
    for (int i = 0; i < numbers; i++)
        given->numbers[i] = (float)PyFloat_AsDouble(objects[arrays + i]);
    return !PyErr_Occurred() && given->arrays[0].ndim >= dimensions && size(&given->arrays[0]) > 0 &&
           !overlapping(given);
}

/* Columns and rows of the first array: its last axis, and the product of the others. */
static Py_ssize_t columns(const Arguments *given) { return given->arrays[0].shape[given->arrays[0].ndim - 1]; }
static Py_ssize_t rows(const Arguments *given) { return size(&given->arrays[0]) / columns(given); }

/* Whether array `i` has the shape of the first one, or one number for each of its rows, or columns. */
static int alike(const Arguments *given, int i)
{
    const Py_buffer *first = &given->arrays[0], *array = &given->arrays[i];
    return array->ndim == first->ndim && !memcmp(array->shape, first->shape, first->ndim * sizeof(Py_ssize_t));
}
static int by_row(const Arguments *given, int i) { return size(&given->arrays[i]) == rows(given); }
static int by_column(const Arguments *given, int i)
{
    return given->arrays[0].ndim == 2 && given->arrays[i].ndim == 1 && given->arrays[i].shape[0] == columns(given);
}

/* Whether array `i` holds the index of a column for each row, or for each row of one member. */
static int classes(const Arguments *given, int i)
{
    const Py_ssize_t *index = given->arrays[i].buf, count = size(&given->arrays[i]);
    const Py_buffer *first = &given->arrays[0];
    if (count != rows(given) && !(first->ndim == 3 && count == first->shape[1]))
        return 0;
    for (Py_ssize_t j = 0; j < count; j++)
        if (index[j] < 0 || index[j] >= columns(given))
            return 0;
    return 1;
}

/* The Python function `name` for the loop `name`: its arguments, the check of sizes, and the call. */
#define FUNCTION(name, kinds, dimensions, count_of_numbers, fitting, ...)                                              \
    static PyObject *py_##name(PyObject *module, PyObject *const *objects, Py_ssize_t count)                           \
    {                                                                                                                  \
        Arguments given;                                                                                               \
        const Arguments *g = &given;                                                                                   \
        const Py_buffer *a = given.arrays;                                                                             \
        const float *x = given.numbers;                                                                                \
        int done = take(&given, kinds, dimensions, count_of_numbers, objects, count) && (fitting);                     \
        (void)module, (void)g, (void)x;                                                                                \
        if (done)                                                                                                      \
            name(__VA_ARGS__);                                                                                         \
        return release(&given, done);                                                                                  \
    }

FUNCTION(add_bias, "wr", 2, 0, by_column(g, 1), rows(g), columns(g), a[0].buf, a[1].buf)
FUNCTION(relu, "rw", 1, 0, alike(g, 1), size(a), a[0].buf, a[1].buf)
FUNCTION(gate_gradient, "rw", 1, 4, alike(g, 1), size(a), a[0].buf, x[0], x[1], x[2], x[3], a[1].buf)
FUNCTION(subtract_row_max, "rw", 2, 0, alike(g, 1), rows(g), columns(g), a[0].buf, a[1].buf)
FUNCTION(row_sums, "rw", 2, 0, by_row(g, 1), rows(g), columns(g), a[0].buf, a[1].buf)
FUNCTION(softmax_cross_entropy, "rrrriwd", 2, 3,
         alike(g, 1) && by_row(g, 2) && by_row(g, 3) && classes(g, 4) && alike(g, 5) && by_row(g, 6), rows(g),
         columns(g), a[0].buf, a[1].buf, a[2].buf, a[3].buf, a[4].buf, size(&a[4]), x[0], x[1], x[2], a[5].buf,
         a[6].buf)
FUNCTION(adam, "wrww", 1, 5, alike(g, 1) && alike(g, 2) && alike(g, 3), size(a), a[0].buf, a[1].buf, a[2].buf,
         a[3].buf, x[0], x[1], x[2], x[3], x[4])

#define ENTRY(name) {#name, (PyCFunction)(void (*)(void))py_##name, METH_FASTCALL, NULL}
static PyMethodDef functions[] = {ENTRY(add_bias),         ENTRY(relu),     ENTRY(gate_gradient),
                                  ENTRY(subtract_row_max), ENTRY(row_sums), ENTRY(softmax_cross_entropy),
                                  ENTRY(adam),             {NULL, NULL, 0, NULL}};
static PyModuleDef_Slot slots[] = {
#ifdef Py_GIL_DISABLED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED}, /* there is no state between calls */
#endif
    {0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "_loops", .m_methods = functions,
                                        .m_slots = slots};

PyMODINIT_FUNC PyInit__loops(void) { return PyModuleDef_Init(&definition); }
