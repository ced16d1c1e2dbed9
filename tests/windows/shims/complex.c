/* Complex functions of Microsoft's C library, which numpy, scipy and torch import and Wine 8 lacks.
 *
 * There a complex number is a structure of two numbers, and long double is double. Each function is
 * w_<name> here; the list of exports (shims.py) gives it its own name.
 */
#include <complex.h>

typedef struct { float real, imaginary; } Single;
typedef struct { double real, imaginary; } Double;

static float _Complex of_single(Single x) { return __builtin_complex(x.real, x.imaginary); }
static double _Complex of_double(Double x) { return __builtin_complex(x.real, x.imaginary); }
static Single to_single(float _Complex z) { return (Single){crealf(z), cimagf(z)}; }
static Double to_double(double _Complex z) { return (Double){creal(z), cimag(z)}; }

#define COMPLEX(name) \
    Double w_##name(Double x) { return to_double(name(of_double(x))); } \
    Single w_##name##f(Single x) { return to_single(name##f(of_single(x))); }
#define REAL(name) \
    double w_##name(Double x) { return name(of_double(x)); } \
    float w_##name##f(Single x) { return name##f(of_single(x)); }

REAL(cabs) REAL(carg) REAL(cimag) REAL(creal)
COMPLEX(cacos) COMPLEX(cacosh) COMPLEX(casin) COMPLEX(casinh) COMPLEX(catan) COMPLEX(catanh)
COMPLEX(ccos) COMPLEX(ccosh) COMPLEX(csin) COMPLEX(csinh) COMPLEX(ctan) COMPLEX(ctanh)
COMPLEX(cexp) COMPLEX(clog) COMPLEX(conj) COMPLEX(cproj) COMPLEX(csqrt)

Double w_cpow(Double x, Double y) { return to_double(cpow(of_double(x), of_double(y))); }
Single w_cpowf(Single x, Single y) { return to_single(cpowf(of_single(x), of_single(y))); }
