/* SPDX-License-Identifier: MIT */
#pragma once

#ifndef NULL
#define NULL ((void *)0)
#endif
#ifndef offsetof
#define offsetof(type, member) __builtin_offsetof(type, member)
#endif
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
