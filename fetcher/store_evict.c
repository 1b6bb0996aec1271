/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <string.h>

#include "base/num.h"
#include "fetcher/store_layer_priv.h"
#include "fetcher/store_pin_priv.h"

/*
 * Least recently used first, over all layers, in bounded memory: one walk over
 * the time words sorts the present bytes into a histogram of ages (exact below
 * 32 s, to 3 % above), which tells the age to cut at; a second walk drops what
 * is older, in runs, and of the bucket at the cut only what is still needed.
 * Layers that a pin names are as if they were not there (fetcher/store_pin.h).
 */
enum {
	AGE_SUB_BITS = 5, /* buckets for each power of two: 32 */
	AGE_SUB = 1 << AGE_SUB_BITS,
	AGE_BUCKETS = (32 - AGE_SUB_BITS + 1) * AGE_SUB,
	EVICT_RUN_MAX = 256,	      /* spans that are claimed and punched at once */
	ROOM_MIN_BYTES = 16 << 20,    /* freed at least when the disk is full */
};

static unsigned int age_bucket(uint32_t age)
{
	if (age < AGE_SUB)
		return age;
	unsigned int top = 31U - (unsigned int)__builtin_clz(age);
	return (top - AGE_SUB_BITS + 1) * AGE_SUB + ((age >> (top - AGE_SUB_BITS)) & (AGE_SUB - 1));
}

int layer_lock_fd(const struct store_layer *layer)
{
	int fd = openat(layer->dirfd, "present", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

static bool span_is_absent(const struct store_layer *layer, size_t i)
{
	struct span span;
	if (!(store_layer_state(layer, i) & SPAN_PRESENT))
		return true;
	seek_get(layer->seek, i, &span);
	return span.codec == SEEK_ZEROS;
}

/*
 * Neighbours [lo, hi) reach into a page that is to be punched. Claims them, so
 * that nobody begins to fill them, and tells whether they are absent. What was
 * claimed stays so until the caller lets go of all.
 */
static bool neighbours_absent(const struct store_layer *layer, int lock_fd, size_t lo, size_t hi)
{
	if (lo == hi)
		return true;
	if (ofd_lock(lock_fd, F_WRLCK, PRESENT_LOCK_SPAN + lo, hi - lo) < 0)
		return false;
	for (size_t i = lo; i < hi; i++) {
		if (!span_is_absent(layer, i))
			return false;
	}
	return true;
}

/* Frees whole pages of [first, end), which are claimed and absent. */
static int layer_punch(const struct store_layer *layer, int lock_fd, size_t first, size_t end)
{
	struct span head, tail;
	seek_get(layer->seek, first, &head);
	seek_get(layer->seek, end - 1, &tail);
	uint64_t from = head.out_off & ~(uint64_t)(STORE_PAGE - 1);
	uint64_t to = u64_align(tail.out_off + tail.out_len, STORE_PAGE);

	/* Only what shares the first and the last page: at most a few spans. */
	size_t lo = seek_find(layer->seek, from);
	size_t hi = end;
	for (; hi < layer->present.count; hi++) {
		struct span next;
		seek_get(layer->seek, hi, &next);
		if (next.out_off >= to)
			break;
	}
	if (!neighbours_absent(layer, lock_fd, lo, first))
		from += STORE_PAGE;
	if (!neighbours_absent(layer, lock_fd, end, hi))
		to -= STORE_PAGE;
	if (from >= to)
		return 0;
	if (fallocate(layer->data_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
		      (off_t)(to - from)) < 0)
		return -errno;
	return 0;
}

/* Clears PRESENT and starts the next generation; returns whether it was set. */
static bool span_clear(struct store_layer *layer, size_t i)
{
	_Atomic uint32_t *state = &layer->present.state[i];
	uint32_t word = atomic_load(state);
	while (word & SPAN_PRESENT) {
		uint32_t next = (word & ~(uint32_t)(SPAN_PRESENT | SPAN_UNVERIFIED)) +
				(1U << SPAN_GENERATION_SHIFT);
		if (atomic_compare_exchange_weak(state, &word, next))
			return true;
	}
	return false;
}

int layer_drop(struct store_layer *layer, int lock_fd, size_t first, size_t end, uint64_t *freed)
{
	int r = ofd_lock(lock_fd, F_WRLCK, PRESENT_LOCK_SPAN + first, end - first);
	if (r < 0)
		return r;
	uint64_t bytes = 0;
	for (size_t i = first; i < end; i++) {
		struct span span;
		seek_get(layer->seek, i, &span);
		if (span.codec != SEEK_ZEROS && span_clear(layer, i))
			bytes += span_charge(&span);
	}
	/* Nobody may fill between the clearing and the punching: the claims last over both. */
	r = layer_punch(layer, lock_fd, first, end);
	store_usage_sub(layer->store, bytes);
	*freed += bytes;
	(void)ofd_lock(lock_fd, F_UNLCK, PRESENT_LOCK_SPAN, 0);
	return r;
}

int layer_forget(struct store_layer *layer, int lock_fd, size_t i)
{
	struct span span;
	int r = ofd_lock(lock_fd, F_WRLCK, PRESENT_LOCK_SPAN + i, 1);
	if (r < 0)
		return r;
	seek_get(layer->seek, i, &span);
	if (span.codec != SEEK_ZEROS && span_clear(layer, i))
		store_usage_sub(layer->store, span_charge(&span));
	(void)ofd_lock(lock_fd, F_UNLCK, PRESENT_LOCK_SPAN, 0);
	return 0;
}

int layer_trim(struct store_layer *layer, int lock_fd)
{
	size_t count = layer->present.count;
	for (size_t i = 0, end; i < count; i = end + 1) {
		for (end = i; end < count && span_is_absent(layer, end);)
			end++;
		if (end == i)
			continue;
		if (ofd_lock(lock_fd, F_WRLCK, PRESENT_LOCK_SPAN + i, end - i) < 0)
			continue; /* somebody is filling there */
		bool absent = true;
		for (size_t k = i; absent && k < end; k++)
			absent = span_is_absent(layer, k);
		int r = absent ? layer_punch(layer, lock_fd, i, end) : 0;
		(void)ofd_lock(lock_fd, F_UNLCK, PRESENT_LOCK_SPAN, 0);
		if (r < 0)
			return r;
	}
	return 0;
}

struct eviction {
	struct store *store;
	struct pinned pinned;	      /* owned */
	uint32_t now;		      /* since PRESENT_EPOCH */
	uint64_t need;		      /* bytes still to be freed */
	uint64_t freed;
	uint64_t ages[AGE_BUCKETS];   /* present bytes of each age */
	uint64_t held;		      /* the sum of these, and of what is being filled */
	unsigned int cut;	      /* buckets above it go whole */
	uint64_t cut_left;	      /* bytes of the bucket at the cut that go too */
	int (*visit)(struct eviction *e, struct store_layer *layer);
	int r;			      /* the first failure that was not merely a claim */
};

/* The bucket of a present span that holds bytes, else -1. */
static int span_age(const struct eviction *e, const struct store_layer *layer, size_t i,
		    uint64_t *ret_charge)
{
	struct span span;
	if (!(store_layer_state(layer, i) & SPAN_PRESENT))
		return -1;
	seek_get(layer->seek, i, &span);
	uint64_t charge = span_charge(&span);
	if (charge == 0)
		return -1;
	uint32_t used = atomic_load_explicit(&layer->present.used[i], memory_order_relaxed);
	*ret_charge = charge;
	return (int)age_bucket(used < e->now ? e->now - used : 0);
}

static uint64_t held_sum(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/*
 * The end of the run of spans from i on that are all claimed or all free. The kernel names some lock
 * of a range, not the first: what is before it is asked for again. 0: it cannot be told.
 */
static size_t claims_run(const struct store_layer *layer, size_t i, bool *ret_claimed)
{
	for (size_t end = layer->present.count;;) {
		struct flock lock = {
			.l_type = F_WRLCK,
			.l_whence = SEEK_SET,
			.l_start = (off_t)(PRESENT_LOCK_SPAN + i),
			.l_len = (off_t)(end - i),
		};
		if (fcntl(layer->present.fd, F_OFD_GETLK, &lock) < 0)
			return 0;
		*ret_claimed = lock.l_type != F_UNLCK && lock.l_start <= (off_t)(PRESENT_LOCK_SPAN + i);
		if (*ret_claimed && lock.l_len != 0)
			return (size_t)u64_min(end, (uint64_t)(lock.l_start + lock.l_len) - PRESENT_LOCK_SPAN);
		if (*ret_claimed || lock.l_type == F_UNLCK)
			return end;
		end = (size_t)lock.l_start - PRESENT_LOCK_SPAN;
	}
}

/* What absent spans count that somebody has claimed, and may have counted; UINT64_MAX: unknown. */
static uint64_t layer_claimed_bytes(const struct store_layer *layer)
{
	uint64_t bytes = 0;
	size_t count = layer->present.count;
	for (size_t i = 0, end; i < count; i = end) {
		bool claimed;
		end = claims_run(layer, i, &claimed);
		if (end == 0)
			return UINT64_MAX;
		for (; claimed && i < end; i++) {
			struct span span;
			seek_get(layer->seek, i, &span);
			if (!(store_layer_state(layer, i) & SPAN_PRESENT))
				bytes += span_charge(&span);
		}
	}
	return bytes;
}

static int evict_count(struct eviction *e, struct store_layer *layer)
{
	/* Claims first: what is filled between is then counted twice rather than not at all. */
	uint64_t held = layer_claimed_bytes(layer);
	for (size_t i = 0; i < layer->present.count; i++) {
		uint64_t charge;
		int age = span_age(e, layer, i, &charge);
		if (age < 0)
			continue;
		e->ages[age] += charge;
		held = held_sum(held, charge);
	}
	e->held = held_sum(e->held, held);
	return 0;
}

/*
 * Takes back what processes had counted that were killed before they marked
 * it: else each would make the budget smaller for ever. `used` is the counter
 * before anything was looked at. Whatever may still become of somebody's work
 * is left in.
 */
static void evict_settle(struct eviction *e, uint64_t used)
{
	/* What somebody takes out meanwhile is no longer held, and not lost either: the next time. */
	if (used <= e->held || store_usage_bytes(e->store) < used)
		return;
	store_usage_sub(e->store, used - e->held);
	e->need -= u64_min(e->need, used - e->held);
}

/* Whether the span goes; takes its share of the bucket at the cut. */
static bool evict_wants(struct eviction *e, const struct store_layer *layer, size_t i)
{
	uint64_t charge;
	int age = span_age(e, layer, i, &charge);
	if (age < 0 || (unsigned int)age < e->cut)
		return false;
	if ((unsigned int)age > e->cut)
		return true;
	if (e->cut_left == 0)
		return false;
	e->cut_left -= u64_min(e->cut_left, charge);
	return true;
}

static void evict_run(struct eviction *e, struct store_layer *layer, int lock_fd, size_t first,
		      size_t end)
{
	int r = layer_drop(layer, lock_fd, first, end, &e->freed);
	/* A claim somewhere in the run: its neighbours can still go. */
	for (size_t i = first; r == -EAGAIN && end - first > 1 && i < end; i++) {
		int one = layer_drop(layer, lock_fd, i, i + 1, &e->freed);
		if (one < 0 && one != -EAGAIN)
			r = one;
	}
	if (r < 0 && r != -EAGAIN && e->r == 0)
		e->r = r;
}

static int evict_drop(struct eviction *e, struct store_layer *layer)
{
	AUTO_CLOSE int lock_fd = layer_lock_fd(layer);
	if (lock_fd < 0)
		return 0; /* removed meanwhile */
	size_t count = layer->present.count;
	for (size_t i = 0; i < count && e->freed < e->need; i++) {
		size_t first = i;
		while (i < count && i - first < EVICT_RUN_MAX && evict_wants(e, layer, i))
			i++;
		if (i > first)
			evict_run(e, layer, lock_fd, first, i--);
	}
	return e->freed >= e->need || e->r < 0;
}

static int evict_layer(void *data, int dirfd, const char *name, struct err *err)
{
	struct eviction *e = data;
	struct digest digest;
	AUTO(store_layer) struct store_layer *layer = NULL;
	(void)dirfd;
	(void)err;
	/* What is damaged is fsck's business, or of whoever opens it. */
	if (!store_entry_parse(name, &digest) || layer_load(e->store, name, &layer, NULL) < 0)
		return 0;
	if (!pinned_has_layer(&e->pinned, &digest))
		return e->visit(e, layer);
	e->held = held_sum(e->held, layer_bytes(layer));
	return 0;
}

static void evict_choose(struct eviction *e)
{
	uint64_t sum = 0;
	for (unsigned int i = AGE_BUCKETS; i-- > 0;) {
		sum += e->ages[i];
		if (sum >= e->need || i == 0) {
			e->cut = i;
			e->cut_left = sum >= e->need ? e->need - (sum - e->ages[i]) : e->ages[i];
			return;
		}
	}
}

static int evict_walk(struct eviction *e, uint64_t used, struct err *err)
{
	struct store *store = e->store;
	struct store_work work;
	int r = pinned_read(store, &e->pinned, err);
	/* In this order: a layer that is published between is counted twice rather than not at all. */
	if (r == 0)
		r = store_count_work(store, &work, err);
	e->visit = evict_count;
	if (r == 0)
		r = store_each(store->dirs[STORE_DIR_LAYERS], evict_layer, e, err);
	if (r < 0)
		return r;
	e->held = held_sum(e->held, work.bytes_max);
	evict_settle(e, used);
	if (e->need == 0)
		return 0;
	evict_choose(e);
	e->visit = evict_drop;
	r = store_each(store->dirs[STORE_DIR_LAYERS], evict_layer, e, err);
	if (r < 0)
		return r;
	return e->r < 0 ? err_set(err, e->r, "free bytes of the store %s", store->path) : 0;
}

static int evict_locked(struct store *store, uint64_t used, uint64_t target, uint64_t *ret_freed,
			struct err *err)
{
	AUTO_FREE struct eviction *e = calloc(1, sizeof(*e));
	if (!e)
		return err_set(err, -ENOMEM, "evict from the store %s", store->path);
	e->store = store;
	e->now = (uint32_t)(store_now_sec() - PRESENT_EPOCH);
	e->need = used - target;
	int r = evict_walk(e, used, err);
	pinned_finish(&e->pinned);
	if (r == 0)
		*ret_freed = e->freed;
	return r;
}

int store_evict(struct store *store, uint64_t target, uint64_t *ret_freed, struct err *err)
{
	uint64_t freed = 0;
	/* Not a file of its own: on a full disk none could be made. */
	AUTO_CLOSE int lock = openat(store->fd, "usage", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	int r = lock < 0 ? -errno : ofd_lock(lock, F_WRLCK, STORE_LOCK_EVICT, 1);
	if (r < 0 && r != -EAGAIN)
		return err_set(err, r, "lock %s/usage", store->path);
	uint64_t used = store_usage_bytes(store);
	if (r == 0 && used > target) {
		r = evict_locked(store, used, target, &freed, err);
		if (r < 0)
			return r;
	}
	*ret_freed = freed;
	return 0;
}

uint64_t store_room(const struct store *store)
{
	uint64_t used = store_usage_bytes(store);
	return used < store->budget ? store->budget - used : 0;
}

bool store_reserve(struct store *store, uint64_t n)
{
	uint64_t freed;
	if (store_usage_add(store, n) <= store->budget)
		return true;
	uint64_t low = store->budget / STORE_BUDGET_DEN * STORE_BUDGET_NUM;
	(void)store_evict(store, low, &freed, NULL);
	return store_usage_bytes(store) <= store->budget;
}

bool store_make_room(struct store *store, uint64_t n)
{
	uint64_t freed = 0;
	uint64_t used = store_usage_bytes(store);
	uint64_t room = u64_max(n, ROOM_MIN_BYTES);
	(void)store_evict(store, used > room ? used - room : 0, &freed, NULL);
	return freed > 0;
}
