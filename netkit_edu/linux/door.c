/* SPDX-License-Identifier: MIT
 *
 * The syscall door: executes the operations of a frame in order and answers. It knows an arena, system calls and a
 * stream, and nothing of networks. PROTOCOL.md describes the frames. As PID 1 of a virtual machine it serves the first
 * virtio-serial port, else file descriptor 0, and exits when that closes.
 *
 * Built without libc: clang --target=x86_64-linux-gnu -O2 -static -nostdlib -ffreestanding (or zig cc).
 */
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;
typedef long s64;

enum { REQUEST = 0x52444b4e, REPLY = 0x41444b4e, VERSION = 1 };            /* "NKDR", "NKDA" */
enum { HELLO = 1, WRITE, FILL, CALL, ADD, READ, TAKE, LOOP, FINALLY };     /* operations */
enum { OK = 0, REFUSED, BAD_FRAME, BAD_OPERATION, TIMEOUT, NO_ROOM };      /* status of an answer */
enum { KEEP = 1 };                                                         /* flag of a frame: run it at the end */
enum { MUST = 1 };                                                         /* flag of a call: the rest depends on it */
enum { ARENA = 0x10000000, ARENA_SIZE = 4 << 20, FRAME_MAX = 4 << 20, KEPT_MAX = 1 << 16, DEPTH = 4 };
enum { SYS_read = 0, SYS_write = 1, SYS_open = 2, SYS_mmap = 9, SYS_rt_sigaction = 13, SYS_rt_sigreturn = 15,
       SYS_nanosleep = 35, SYS_getpid = 39, SYS_setitimer = 38, SYS_exit_group = 231, SYS_mount = 165 };
enum { EAGAIN = 11, EINTR = 4, SIGPIPE = 13, SIGALRM = 14, SA_RESTORER = 0x04000000 };

struct request { u32 magic, length, check, id, timeout_ms, flags; };
struct reply { u32 magic, length, check, id, status, at; };
struct op { u32 code, flags, off, len; };                       /* followed by what the operation needs */
struct call { u32 code, flags, nr, result; u32 indirect, unused; u64 arg[6]; };
struct hello { u32 version, word; u64 arena; u32 arena_size, frame_max, pid, unused; };

static u8 body[FRAME_MAX], answer[sizeof(struct reply) + FRAME_MAX], kept[KEPT_MAX];
static u8 *const arena = (u8 *)ARENA;
static u32 kept_length, answered, stopped_at;
static volatile u32 expired;
static int in, pid1;

void *memcpy(void *to, const void *from, u64 n)
{
	void *start = to;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
	return start;
}

void *memset(void *to, int byte, u64 n)
{
	void *start = to;

	__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(byte) : "memory");
	return start;
}

static s64 sys(u64 nr, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
	register u64 r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	s64 ret;

	__asm__ volatile("syscall" : "=a"(ret) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

__asm__(".globl on_return\non_return: mov $15, %eax\nsyscall\n");
void on_return(void);
static void on_alarm(int signal) { (void)signal; expired = 1; }

/* A call that waits longer than its frame allows is interrupted, and what follows it is not begun. */
static void watchdog(u32 ms)
{
	struct { s64 every_s, every_us, s, us; } timer = { ms ? 1 : 0, 0, ms / 1000, ms % 1000 * 1000 };

	expired = 0;
	sys(SYS_setitimer, 0, (u64)&timer, 0, 0, 0, 0);
}

static u32 adler32(const u8 *at, u32 n)
{
	u32 a = 1, b = 0;

	while (n) {
		u32 part = n < 5552 ? n : 5552;

		for (n -= part; part; part--)
			a += *at++, b += a;
		a %= 65521, b %= 65521;
	}
	return b << 16 | a;
}

static int inside(u64 off, u64 len) { return off <= ARENA_SIZE && len <= ARENA_SIZE - off; }
static int cell(u64 off) { return off % 8 == 0 && inside(off, 8); }

static u32 give(const void *from, u32 n)
{
	if (n > FRAME_MAX - answered)
		return NO_ROOM;
	memcpy(answer + sizeof(struct reply) + answered, from, n);
	answered += n;
	return OK;
}

static u32 do_call(const struct call *op)
{
	u64 arg[6];
	s64 ret;

	if (!cell(op->result))
		return BAD_OPERATION;
	for (u32 i = 0; i < 6; i++) {
		if (op->indirect >> i & 1 && !cell(op->arg[i]))
			return BAD_OPERATION;
		arg[i] = op->indirect >> i & 1 ? *(u64 *)(arena + op->arg[i]) : op->arg[i];
	}
	ret = sys(op->nr, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
	*(s64 *)(arena + op->result) = ret;
	if (expired)
		return TIMEOUT;
	return op->flags & MUST && ret < 0 && ret > -4096 ? REFUSED : OK;
}

/* Executes the operations in [at, end); once one has failed, only what stands behind FINALLY. */
static u32 run(const u8 *start, u32 at, u32 end, u32 depth)
{
	u32 status = OK;

	while (at < end) {
		const struct op *op = (const void *)(start + at);
		struct hello hello = { VERSION, sizeof(long), ARENA, ARENA_SIZE, FRAME_MAX, 0, 0 };
		u32 now = OK, size = sizeof *op;

		if (end - at < size)
			return stopped_at = at, BAD_OPERATION;
		if (expired && !status)
			stopped_at = at, status = TIMEOUT;
		if (op->code == WRITE)
			size += op->len <= FRAME_MAX ? (op->len + 7) & ~7u : FRAME_MAX;
		else if (op->code == CALL)
			size = sizeof(struct call);
		else if (op->code == ADD)
			size += 8;
		else if (op->code == LOOP)
			size += op->len % 8 ? FRAME_MAX : op->len;
		if (end - at < size || op->code < HELLO || op->code > FINALLY)
			return stopped_at = at, BAD_OPERATION;
		if (op->code == FINALLY) {
			u32 last;

			watchdog(0);
			last = run(start, at + size, end, depth);

			return status ? status : last;
		}
		if (status) {
			at += size;
			continue;
		}
		if (op->code == CALL)
			now = do_call((const struct call *)op);
		else if (op->code == LOOP)
			for (u32 n = 0; !now && n < op->off; n++)
				now = expired ? TIMEOUT : depth < DEPTH ? run(start, at + sizeof *op, at + size, depth + 1) : BAD_OPERATION;
		else if (op->code == HELLO)
			hello.pid = (u32)sys(SYS_getpid, 0, 0, 0, 0, 0, 0), now = give(&hello, sizeof hello);
		else if (op->code == ADD ? !cell(op->off) : op->code == TAKE ? !cell(op->flags) : !inside(op->off, op->len))
			now = BAD_OPERATION;
		else if (op->code == WRITE)
			memcpy(arena + op->off, op + 1, op->len);
		else if (op->code == FILL)
			memset(arena + op->off, (int)op->flags, op->len);
		else if (op->code == ADD)
			*(u64 *)(arena + op->off) += *(const u64 *)(op + 1);
		else { /* READ: len bytes; TAKE: as many as the cell says, len at most, behind their number */
			s64 want = op->code == TAKE ? *(s64 *)(arena + op->flags) : (s64)op->len;
			u32 n = want < 0 ? 0 : want < (s64)op->len ? (u32)want : op->len;

			now = inside(op->off, n) ? OK : BAD_OPERATION;
			if (!now && op->code == TAKE)
				now = give(&n, 4);
			if (!now)
				now = give(arena + op->off, n);
		}
		if (now && !(op->code == LOOP && now != BAD_OPERATION))
			stopped_at = at;
		status = now;
		at += size;
	}
	return status;
}

/* Fills ``to``; 0 at the end of the stream. A port whose other side is not there yet reads as the end: it waits. */
static int fill(void *to, u32 n)
{
	s64 pause[2] = { 0, 1000000 };

	for (u32 have = 0; have < n;) {
		s64 got = sys(SYS_read, in, (u64)to + have, n - have, 0, 0, 0);

		if (got > 0)
			have += got;
		else if (pid1 || got == -EINTR || got == -EAGAIN)
			sys(SYS_nanosleep, (u64)pause, 0, 0, 0, 0, 0);
		else
			return 0;
	}
	return 1;
}

static int respond(u32 id, u32 status)
{
	u32 n = sizeof(struct reply) + answered;
	struct reply head = { REPLY, answered, adler32(answer + sizeof head, answered), id, status, stopped_at };

	memcpy(answer, &head, sizeof head);
	for (u32 done = 0; done < n;) {
		s64 put = sys(SYS_write, in, (u64)answer + done, n - done, 0, 0, 0);

		if (put > 0)
			done += put;
		else if (put != -EINTR && put != -EAGAIN && !pid1)
			return 0;
	}
	return 1;
}

static int serve(void)
{
	struct request head;
	u32 lost = 0, status;

	if (!fill(&head, sizeof head))
		return 0;
	while (head.magic != REQUEST || head.length > FRAME_MAX) { /* look for the next frame, byte by byte */
		for (u32 i = 0; i + 1 < sizeof head; i++)
			((u8 *)&head)[i] = ((u8 *)&head)[i + 1];
		answered = stopped_at = 0;
		if ((!lost++ && !respond(0, BAD_FRAME)) || !fill((u8 *)&head + sizeof head - 1, 1))
			return 0;
	}
	if (!fill(body, head.length))
		return 0;
	answered = stopped_at = 0;
	if (adler32(body, head.length) != head.check || head.length % 8)
		return respond(head.id, BAD_FRAME);
	if (head.flags & KEEP) {
		if (head.length > KEPT_MAX)
			return respond(head.id, NO_ROOM);
		memcpy(kept, body, head.length);
		kept_length = head.length;
		return respond(head.id, OK);
	}
	watchdog(head.timeout_ms);
	status = run(body, 0, head.length, 0);
	watchdog(0);
	return respond(head.id, status);
}

__attribute__((force_align_arg_pointer, noreturn)) void _start(void)
{
	struct { void (*handler)(int); u64 flags; void (*restorer)(void); u64 mask; } act
		= { on_alarm, SA_RESTORER, on_return, 0 }, ignore = { (void (*)(int))1, 0, 0, 0 };
	s64 pause[2] = { 0, 1000000 };

	pid1 = sys(SYS_getpid, 0, 0, 0, 0, 0, 0) == 1;
	if (pid1) {
		sys(SYS_mount, (u64)"devtmpfs", (u64)"/dev", (u64)"devtmpfs", 0, 0, 0);
		while ((in = (int)sys(SYS_open, (u64)"/dev/vport0p1", 2, 0, 0, 0, 0)) < 0)
			sys(SYS_nanosleep, (u64)pause, 0, 0, 0, 0, 0);
	}
	sys(SYS_rt_sigaction, SIGALRM, (u64)&act, 0, 8, 0, 0);
	sys(SYS_rt_sigaction, SIGPIPE, (u64)&ignore, 0, 8, 0, 0);
	if (sys(SYS_mmap, ARENA, ARENA_SIZE, 3, 0x32, -1UL, 0) == ARENA) /* MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS */
		while (serve())
			;
	answered = stopped_at = 0;
	run(kept, 0, kept_length, 0);
	sys(SYS_exit_group, 0, 0, 0, 0, 0, 0);
	__builtin_unreachable();
}
