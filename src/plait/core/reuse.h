/* Objects that are made and dropped by the million: the memory of the last few is kept for the next, and the finalizer, which CPython calls
   at a price of 20 ns, is called only for those that have something to say. */
#ifndef PLAIT_REUSE_H
#define PLAIT_REUSE_H

#include <Python.h>
#include <string.h>

#ifdef NDEBUG
#define PLAIT_KEPT_MAX 256
#else
#define PLAIT_KEPT_MAX 0 /* what is used after its end shall be found by who looks for it */
#endif
#define PLAIT_REUSED_MAX 2

struct plait_reused {
    PyTypeObject *type;
    destructor dealloc; /* the one that Cython wrote */
    int hidden;         /* new objects are not yet known to the garbage collector */
    int count;
    PyObject *kept[PLAIT_KEPT_MAX + 1];
};

/* One table for each module that includes this. */
static struct plait_reused plait_reused[PLAIT_REUSED_MAX];

static inline struct plait_reused *plait_reused_of(PyTypeObject *type)
{
    int i;
    for (i = 0; i < PLAIT_REUSED_MAX; i++)
        if (plait_reused[i].type == type)
            return &plait_reused[i];
    return NULL; /* a subclass */
}

/* tp_alloc: a zeroed object, as PyType_GenericAlloc gives it. */
static PyObject *plait_reuse_alloc(PyTypeObject *type, Py_ssize_t items)
{
    struct plait_reused *reused = plait_reused_of(type);
    PyObject *object;
    if (reused == NULL || reused->count == 0) {
        object = PyType_GenericAlloc(type, items);
        if (object != NULL && reused != NULL && reused->hidden)
            PyObject_GC_UnTrack(object);
        return object;
    }
    object = reused->kept[--reused->count];
    memset((char *)object + sizeof(PyObject), 0, (size_t)type->tp_basicsize - sizeof(PyObject));
    PyObject_Init(object, type);
    if (!reused->hidden)
        PyObject_GC_Track(object);
    return object;
}

/* The same for a type whose objects hold none, and which the collector does not know. */
static PyObject *plait_reuse_alloc_plain(PyTypeObject *type, Py_ssize_t items)
{
    struct plait_reused *reused = plait_reused_of(type);
    PyObject *object;
    if (reused == NULL || reused->count == 0)
        return PyType_GenericAlloc(type, items);
    object = reused->kept[--reused->count];
    memset((char *)object + sizeof(PyObject), 0, (size_t)type->tp_basicsize - sizeof(PyObject));
    return PyObject_Init(object, type);
}

static void plait_reuse_free_plain(void *memory)
{
    struct plait_reused *reused = plait_reused_of(Py_TYPE((PyObject *)memory));
    if (reused == NULL || reused->count == PLAIT_KEPT_MAX)
        PyObject_Free(memory);
    else
        reused->kept[reused->count++] = (PyObject *)memory;
}

/* tp_free: the object is untracked and cleared. One that was finalized keeps that mark, and would never be again. */
static void plait_reuse_free(void *memory)
{
    PyObject *object = (PyObject *)memory;
    struct plait_reused *reused = plait_reused_of(Py_TYPE(object));
    if (reused == NULL || reused->count == PLAIT_KEPT_MAX || PyObject_GC_IsFinalized(object))
        PyObject_GC_Del(object);
    else
        reused->kept[reused->count++] = object;
}

/* Keep the memory of this type's objects. `dealloc`, if not NULL, stands before the one that Cython wrote. */
static inline void plait_reuse(PyTypeObject *type, destructor dealloc, int hidden)
{
    struct plait_reused *reused = plait_reused_of(NULL);
    reused->type = type;
    reused->hidden = hidden;
    reused->dealloc = type->tp_dealloc;
    type->tp_alloc = PyType_IS_GC(type) ? plait_reuse_alloc : plait_reuse_alloc_plain;
    type->tp_free = PyType_IS_GC(type) ? plait_reuse_free : plait_reuse_free_plain;
    if (dealloc != NULL)
        type->tp_dealloc = dealloc;
}

/* The rest of a `dealloc` given to plait_reuse. Cython's calls the finalizer only where it is the type's own: here it is not any more. */
static inline void plait_drop(PyObject *object, PyTypeObject *type, int finalize)
{
    if (finalize && !PyObject_GC_IsFinalized(object) && Py_TYPE(object) == type && PyObject_CallFinalizerFromDealloc(object) < 0)
        return; /* somebody holds it again */
    plait_reused_of(type)->dealloc(object);
}

#endif
