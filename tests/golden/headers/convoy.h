#ifndef CONVOY_CONVOY_H
#define CONVOY_CONVOY_H
#include "types.h"
#include "context.h"
#include "net.h"
#include "train.h"
#include "op.h"
#endif
