/* Which loops between the matrix products are there compiled?
 *
 * Each goes once over memory where NumPy's operations go several times, and does the same operations in float32, in
 * the same order: the result is the same to the last bit. That forbids the compiler to contract a multiplication and
 * an addition, to reorder sums, and to replace divisions and roots by estimates (see the flags in setup.py).
 *
 * A function returns whether it did the work. It does not if an array is not float32 in one piece, or if shapes or
 * classes do not fit; NumPy's form, beside the formula in the Python source, is for everything and is what these loops
 * are tested against.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <float.h>
#include <math.h>
#include <string.h>

#if FLT_EVAL_METHOD != 0
#error "float32 is computed with more digits here: the bits would not be NumPy's"
#endif

/* One binary for all x86 processors: the loader takes the form that suits the one at hand. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__has_attribute)
#if __has_attribute(target_clones)
#define ANY_PROCESSOR __attribute__((target_clones("avx512f", "avx2", "default")))
#endif
#endif
#ifndef ANY_PROCESSOR
#define ANY_PROCESSOR
#endif

/* ---- the loops: n rows, k columns ---- */

/* z[i][j] += row[j] */
ANY_PROCESSOR
static void add_row(Py_ssize_t n, Py_ssize_t k, float *restrict z, const float *restrict row)
{
    for (Py_ssize_t i = 0; i < n; i++, z += k)
        for (Py_ssize_t j = 0; j < k; j++)
            z[j] += row[j];
}

/* out = max(0, z); NaN stays NaN */
ANY_PROCESSOR
static void positive_part(Py_ssize_t size, const float *restrict z, float *restrict out)
{
    for (Py_ssize_t i = 0; i < size; i++)
        out[i] = z[i] <= 0 ? 0 : z[i];
}

/* grad *= `inside` where low < z < high, which may be infinite: then there is no limit; `outside` elsewhere. A product
 * even with 0 and 1, so that a gradient that is not finite stays so */
ANY_PROCESSOR
static void scale_between(Py_ssize_t size, const float *restrict z, float low, float high, float inside, float outside,
                          float *restrict grad)
{
    int unlimited = high == INFINITY;
    for (Py_ssize_t i = 0; i < size; i++)
        grad[i] *= z[i] > low && (z[i] < high || unlimited) ? inside : outside;
}

/* out = z less the largest number of its row; a NaN stays in its place, and so in the sum of its row */
ANY_PROCESSOR
static void less_largest(Py_ssize_t n, Py_ssize_t k, const float *restrict z, float *restrict out)
{
    for (Py_ssize_t i = 0; i < n; i++, z += k, out += k) {
        float largest = z[0];
        for (Py_ssize_t j = 1; j < k; j++)
            largest = z[j] > largest ? z[j] : largest;
        for (Py_ssize_t j = 0; j < k; j++)
            out[j] = z[j] - largest;
    }
}

/* sums = the sum of each row, from its first number to its last */
ANY_PROCESSOR
static void sum_rows(Py_ssize_t n, Py_ssize_t k, const float *restrict values, float *restrict sums)
{
    for (Py_ssize_t i = 0; i < n; i++, values += k) {
        float sum = values[0];
        for (Py_ssize_t j = 1; j < k; j++)
            sum += values[j];
        sums[i] = sum;
    }
}

/* With p = e / sum and the target q, which is `high` for the true class and `low` for the others:
 * loss[i] = sum of q log p over row i, grad = share p - q */
ANY_PROCESSOR
static void cross_entropy(Py_ssize_t n, Py_ssize_t k, const float *restrict shifted, const float *restrict e,
                          const float *restrict sum, const float *restrict log_sum, const Py_ssize_t *restrict target,
                          float low, float high, float share, float *restrict grad, double *restrict loss)
{
    for (Py_ssize_t i = 0; i < n; i++, shifted += k, e += k, grad += k) {
        float factor = share / sum[i];
        double row = 0;
        for (Py_ssize_t j = 0; j < k; j++) {
            float q = j == target[i] ? high : low;
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

/* ---- the way in from Python: arrays first, then numbers; the answer says whether the work was done ---- */

typedef struct {
    int held;
    Py_buffer arrays[7];
    float numbers[5];
} Arguments;

static PyObject *let_go(Arguments *given, int done)
{
    while (given->held)
        PyBuffer_Release(&given->arrays[--given->held]);
    return PyErr_Occurred() ? NULL : PyBool_FromLong(done);
}

/* How many numbers an array holds. */
static Py_ssize_t size(const Py_buffer *array) { return array->len / array->itemsize; }

/* Take hold of `array` as its letter asks: r float32 to read, w to write, s to write in whichever order it lies,
 * d float64 to write, i indices to read. */
static int hold(PyObject *object, char letter, Py_buffer *array)
{
    int flags = PyBUF_FORMAT | (letter == 's' ? PyBUF_ANY_CONTIGUOUS : PyBUF_C_CONTIGUOUS);
    if (letter != 'r' && letter != 'i')
        flags |= PyBUF_WRITABLE;
    if (PyObject_GetBuffer(object, array, flags) < 0) {
        PyErr_Clear();
        return 0;
    }
    const char *formats = letter == 'i' ? "nlq" : letter == 'd' ? "d" : "f";
    size_t width = letter == 'i' ? sizeof(Py_ssize_t) : letter == 'd' ? sizeof(double) : sizeof(float);
    if (array->itemsize == (Py_ssize_t)width && strlen(array->format) == 1 && strchr(formats, *array->format))
        return 1;
    PyBuffer_Release(array);
    return 0;
}

/* Whether `objects` are an array for each of `letters`, of so many dimensions the first, and so many numbers; if so,
 * they are held until `let_go`. */
static int take(Arguments *given, const char *letters, int dimensions, int numbers, PyObject *const *objects,
                Py_ssize_t count)
{
    int arrays = (int)strlen(letters);
    given->held = 0;
    if (count != arrays + numbers) {
        PyErr_Format(PyExc_TypeError, "takes %d arrays and %d numbers", arrays, numbers);
        return 0;
    }
    for (int i = 0; i < arrays; i++, given->held++)
        if (!hold(objects[i], letters[i], &given->arrays[i]))
            return 0;
    for (int i = 0; i < numbers; i++)
        given->numbers[i] = (float)PyFloat_AsDouble(objects[arrays + i]);
    return !PyErr_Occurred() && given->arrays[0].ndim == dimensions && size(&given->arrays[0]) > 0;
}

/* Whether the array of number `i` has the shape of the first one; a number for each of its rows, or of its columns. */
static int alike(const Arguments *given, int i)
{
    const Py_buffer *first = &given->arrays[0], *array = &given->arrays[i];
    return array->ndim == first->ndim && !memcmp(array->shape, first->shape, first->ndim * sizeof(Py_ssize_t));
}
static int rows(const Arguments *given, int i) { return size(&given->arrays[i]) == given->arrays[0].shape[0]; }
static int columns(const Arguments *given, int i)
{
    return given->arrays[i].ndim == 1 && given->arrays[i].shape[0] == given->arrays[0].shape[1];
}

/* Whether every index of the array of number `i` is that of a column. */
static int classes(const Arguments *given, int i)
{
    const Py_ssize_t *index = given->arrays[i].buf;
    for (Py_ssize_t j = 0; j < size(&given->arrays[i]); j++)
        if (index[j] < 0 || index[j] >= given->arrays[0].shape[1])
            return 0;
    return 1;
}

/* The Python function `name` for the loop `name`: what it takes, which sizes fit, and the call. */
#define FUNCTION(name, letters, dimensions, count_of_numbers, fitting, ...)                                            \
    static PyObject *py_##name(PyObject *module, PyObject *const *objects, Py_ssize_t count)                           \
    {                                                                                                                  \
        Arguments given;                                                                                               \
        const Arguments *g = &given;                                                                                   \
        const Py_buffer *a = given.arrays;                                                                             \
        const float *x = given.numbers;                                                                                \
        int done = take(&given, letters, dimensions, count_of_numbers, objects, count) && (fitting);                   \
        (void)module, (void)g, (void)x;                                                                                \
        if (done)                                                                                                      \
            name(__VA_ARGS__);                                                                                         \
        return let_go(&given, done);                                                                                   \
    }

FUNCTION(add_row, "wr", 2, 0, columns(g, 1), a->shape[0], a->shape[1], a[0].buf, a[1].buf)
FUNCTION(positive_part, "rw", 2, 0, alike(g, 1), size(a), a[0].buf, a[1].buf)
FUNCTION(scale_between, "rw", 2, 4, alike(g, 1), size(a), a[0].buf, x[0], x[1], x[2], x[3], a[1].buf)
FUNCTION(less_largest, "rs", 2, 0, alike(g, 1), a->shape[0], a->shape[1], a[0].buf, a[1].buf)
FUNCTION(sum_rows, "sw", 2, 0, rows(g, 1), a->shape[0], a->shape[1], a[0].buf, a[1].buf)
FUNCTION(cross_entropy, "ssrriwd", 2, 3,
         alike(g, 1) && rows(g, 2) && rows(g, 3) && rows(g, 4) && classes(g, 4) && alike(g, 5) && rows(g, 6),
         a->shape[0], a->shape[1], a[0].buf, a[1].buf, a[2].buf, a[3].buf, a[4].buf, x[0], x[1], x[2], a[5].buf,
         a[6].buf)
FUNCTION(adam, "wrww", 1, 5, alike(g, 1) && alike(g, 2) && alike(g, 3), size(a), a[0].buf, a[1].buf, a[2].buf,
         a[3].buf, x[0], x[1], x[2], x[3], x[4])

#define ENTRY(name) {#name, (PyCFunction)(void (*)(void))py_##name, METH_FASTCALL, NULL}
static PyMethodDef functions[] = {ENTRY(add_row),  ENTRY(positive_part), ENTRY(scale_between), ENTRY(less_largest),
                                  ENTRY(sum_rows), ENTRY(cross_entropy), ENTRY(adam),          {NULL, NULL, 0, NULL}};
static PyModuleDef_Slot slots[] = {
#ifdef Py_GIL_DISABLED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED}, /* nothing is kept between two calls */
#endif
    {0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "_loops", .m_methods = functions,
                                        .m_slots = slots};

PyMODINIT_FUNC PyInit__loops(void) { return PyModuleDef_Init(&definition); }
