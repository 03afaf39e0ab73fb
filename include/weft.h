/* The short spelling of <weft/weft.h>. */
#ifndef WEFT_H
#define WEFT_H

#include <weft/weft.h>

#endif
