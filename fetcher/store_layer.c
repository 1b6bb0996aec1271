/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading and filling a layer that any number of threads and processes share.
 *
 * A filler (F) holds the claim of span i: writes bytes, then sets PRESENT.
 * An evictor (E) holds the claim, on an open file description of its own:
 * clears PRESENT and adds one to the generation in one compare-and-swap, then
 * punches. A reader (R) holds nothing: loads the word, preads, loads it again.
 *
 *   R against F: R's first load sees PRESENT only after F's write (the store
 *     releases, the load acquires; the bytes go through one page cache).
 *     Without PRESENT R gives up, so it never meets a half-written span.
 *   R against E: E changes the word before it punches. Had R's pread met any
 *     of the punch, the change came before, and R's second load sees it.
 *   R against E then F: the generation differs, so PRESENT coming back is seen
 *     (a reader would have to sleep through 2^29 evictions of one span).
 *   F against E, F against F in other processes: the claim. Claims belong to
 *     open file descriptions; an evictor opens `present` anew, so it conflicts
 *     with the fillers of its own process too.
 *   E against F of a neighbour: spans are not page-aligned. A page that the
 *     evicted range shares with neighbours is punched only while E holds their
 *     claims too and finds them absent; else it stays. Only whole pages are
 *     punched, so the kernel zeroes no bytes in a page that somebody reads.
 *   R checking an UNVERIFIED span: compares the SHA-256, then clears the bit
 *     with a compare-and-swap from the word it saw first; any change in
 *     between voids the check. F filling an UNVERIFIED span writes the very
 *     bytes that should be there; a check that reads torn bytes meanwhile
 *     fails, finds the span claimed, and drops nothing.
 *   Death: F before PRESENT: the span is absent, its bytes rewritten later (or
 *     trimmed by gc). E before the punch: absent, pages left to gc. The claim
 *     goes with the process. The usage counter is then too high, never too
 *     low, until it is counted anew.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include <zstd.h>

#include "base/file.h"
#include "base/num.h"
#include "fetcher/store_layer_priv.h"

const struct seek *store_layer_seek(const struct store_layer *layer)
{
	return layer->seek;
}

const struct store_layer_info *store_layer_info(const struct store_layer *layer)
{
	return &layer->info;
}

int store_layer_data_fd(const struct store_layer *layer)
{
	return layer->data_fd;
}

int store_layer_windows_fd(const struct store_layer *layer)
{
	return layer->windows_fd;
}

uint32_t store_layer_state(const struct store_layer *layer, size_t i)
{
	return atomic_load_explicit(&layer->present.state[i], memory_order_acquire);
}

int store_layer_tree(struct store_layer *layer, int *ret_fd, struct err *err)
{
	int fd = openat(layer->dirfd, "tree.erofs", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return err_set(err, -errno, "open the tree of a layer in the store");
	*ret_fd = fd;
	return 0;
}

int store_layer_add_tree(struct store_layer *layer, int tree_fd, struct err *err)
{
	AUTO(commit) struct commit *commit = NULL;
	int r = commit_create(layer->dirfd, "tree.erofs", &commit, err);
	if (r < 0)
		return r;
	AUTO_FREE char *step = malloc(SEEK_SPAN_BYTES);
	if (!step)
		return err_set(err, -ENOMEM, "add a tree to a layer");
	for (uint64_t off = 0;;) {
		ssize_t got = file_pread(tree_fd, step, SEEK_SPAN_BYTES, off);
		if (got < 0)
			return err_set(err, (int)got, "read the tree to add to a layer");
		if (got == 0)
			break;
		r = file_write(commit_fd(commit), step, (size_t)got);
		if (r < 0)
			return err_set(err, r, "write the tree of a layer");
		off += (uint64_t)got;
	}
	return commit_finish(commit, COMMIT_KEEP, err);
}

static uint32_t present_now(void)
{
	return (uint32_t)(store_now_sec() - PRESENT_EPOCH);
}

/* A store only when it changes: a hot span's cache line stays shared. */
static void layer_stamp(struct store_layer *layer, size_t i)
{
	uint32_t now = present_now();
	_Atomic uint32_t *used = &layer->present.used[i];
	if (atomic_load_explicit(used, memory_order_relaxed) != now)
		atomic_store_explicit(used, now, memory_order_relaxed);
}

int layer_check_span(const struct store_layer *layer, size_t i)
{
	struct span span;
	seek_get(layer->seek, i, &span);
	if (span.sum != SEEK_SUM_OUT)
		return -ENOTSUP;
	AUTO_FREE void *data = malloc((size_t)span.out_len);
	if (!data)
		return -ENOMEM;
	ssize_t got = file_pread(layer->data_fd, data, (size_t)span.out_len, span.out_off);
	if (got < 0)
		return (int)got;
	if ((uint64_t)got != span.out_len)
		return -EBADMSG;
	struct digest digest;
	int r = digest_of(DIGEST_SHA256, data, (size_t)span.out_len, &digest);
	if (r < 0)
		return r;
	return memcmp(digest.bytes, span.sha256, SHA256_BYTES) == 0 ? 0 : -EBADMSG;
}

/* Checks an UNVERIFIED span whose word was `word`; drops it when it is wrong. */
static int layer_verify(struct store_layer *layer, size_t i, uint32_t word)
{
	int r = layer_check_span(layer, i);
	if (r == 0) {
		/* A failure means that somebody changed the word: the caller looks again. */
		(void)atomic_compare_exchange_strong(&layer->present.state[i], &word,
						     word & ~(uint32_t)SPAN_UNVERIFIED);
		return 0;
	}
	if (r != -EBADMSG && r != -EIO && r != -ENOTSUP)
		return r;
	AUTO_CLOSE int lock_fd = layer_lock_fd(layer);
	if (lock_fd < 0)
		return lock_fd;
	/* Not when somebody has it verified or filled it since. */
	uint64_t freed = 0;
	if (store_layer_state(layer, i) == word)
		(void)layer_drop(layer, lock_fd, i, i + 1, &freed);
	return -EAGAIN;
}

/*
 * The bytes are read before the second look at the word; an acquire of the
 * word alone would not order what stands before it. gcc's TSan knows no
 * fences, and none of what pread() does either.
 */
static void bytes_before_word(void)
{
#ifndef __SANITIZE_THREAD__
	atomic_thread_fence(memory_order_seq_cst);
#endif
}

/* Part of one span: n bytes from off. */
static int layer_read_span(struct store_layer *layer, size_t i, char *data, size_t n, uint64_t off,
			   bool stamp)
{
	uint32_t word = store_layer_state(layer, i);
	if ((word & (SPAN_PRESENT | SPAN_UNVERIFIED)) == (SPAN_PRESENT | SPAN_UNVERIFIED)) {
		int r = layer_verify(layer, i, word);
		if (r < 0)
			return r;
		word = store_layer_state(layer, i);
	}
	if ((word & (SPAN_PRESENT | SPAN_UNVERIFIED)) != SPAN_PRESENT)
		return -EAGAIN;
	ssize_t got = file_pread(layer->data_fd, data, n, off);
	if (got < 0)
		return (int)got;
	bytes_before_word();
	uint32_t after = store_layer_state(layer, i);
	/* A window may have come meanwhile; that says nothing about the bytes. */
	if (((word ^ after) & ~(uint32_t)SPAN_WINDOW) != 0)
		return -EAGAIN;
	if ((size_t)got != n)
		return -EIO;
	if (stamp)
		layer_stamp(layer, i);
	return 0;
}

static ssize_t layer_read(struct store_layer *layer, void *data, size_t len, uint64_t off,
			  bool stamp)
{
	if (!range_within(off, len, seek_out_size(layer->seek)) || len > SSIZE_MAX)
		return -EINVAL;
	size_t count = layer->present.count;
	size_t done = 0;
	for (size_t i = seek_find(layer->seek, off); done < len;) {
		uint64_t at = off + done;
		uint64_t left = len - done;
		char *to = (char *)data + done;
		struct span span = {.out_off = UINT64_MAX};
		if (i < count)
			seek_get(layer->seek, i, &span);
		if (at < span.out_off) { /* padding */
			uint64_t n = u64_min(left, span.out_off - at);
			memset(to, 0, (size_t)n);
			done += (size_t)n;
			continue;
		}
		uint64_t n = u64_min(left, span.out_off + span.out_len - at);
		int r = 0;
		if (span.codec == SEEK_ZEROS)
			memset(to, 0, (size_t)n);
		else
			r = layer_read_span(layer, i, to, (size_t)n, at, stamp);
		if (r < 0)
			return r;
		done += (size_t)n;
		i++;
	}
	return (ssize_t)len;
}

ssize_t store_layer_read(struct store_layer *layer, void *data, size_t len, uint64_t off)
{
	return layer_read(layer, data, len, off, true);
}

ssize_t layer_read_quiet(struct store_layer *layer, void *data, size_t len, uint64_t off)
{
	return layer_read(layer, data, len, off, false);
}

int store_layer_claim(struct store_layer *layer, size_t first, size_t end)
{
	return ofd_lock(layer->present.fd, F_WRLCK, PRESENT_LOCK_SPAN + first, end - first);
}

void store_layer_release(struct store_layer *layer, size_t first, size_t end)
{
	(void)ofd_lock(layer->present.fd, F_UNLCK, PRESENT_LOCK_SPAN + first, end - first);
}

/* Writes a span's bytes; a full disk is given one chance after an eviction, if there may be one. */
static int layer_write_span(struct store_layer *layer, const struct span *span, const void *data,
			    bool evict)
{
	int r = file_pwrite(layer->data_fd, data, (size_t)span->out_len, span->out_off);
	if (evict && (r == -ENOSPC || r == -EDQUOT) && store_make_room(layer->store, span_charge(span)))
		r = file_pwrite(layer->data_fd, data, (size_t)span->out_len, span->out_off);
	return r;
}

static int layer_fill(struct store_layer *layer, size_t i, const void *data, bool evict,
		      struct err *err)
{
	struct store *store = layer->store;
	struct span span;
	uint32_t word = store_layer_state(layer, i);
	seek_get(layer->seek, i, &span);
	if (span.codec == SEEK_ZEROS || (word & (SPAN_PRESENT | SPAN_UNVERIFIED)) == SPAN_PRESENT)
		return 0;
	/* One that is UNVERIFIED is in the count already. */
	uint64_t charge = word & SPAN_PRESENT ? 0 : span_charge(&span);
	if (charge > store->budget)
		return err_say(err, -ENOSPC,
			       "a span of %llu bytes does not fit the budget of the store, %llu bytes",
			       (unsigned long long)charge, (unsigned long long)store->budget);
	if (evict) {
		(void)store_reserve(store, charge);
	} else if (store_usage_add(store, charge) > store->budget && charge > 0) {
		store_usage_sub(store, charge);
		return err_say(err, -ENOSPC, "the budget of the store is used up");
	}
	int r = layer_write_span(layer, &span, data, evict);
	if (r < 0) {
		store_usage_sub(store, charge);
		return err_set(err, r, "keep %llu bytes in the store %s",
			       (unsigned long long)span.out_len, store->path);
	}
	layer_stamp(layer, i);
	word = store_layer_state(layer, i);
	while (!atomic_compare_exchange_weak_explicit(
		&layer->present.state[i], &word,
		(word | SPAN_PRESENT) & ~(uint32_t)SPAN_UNVERIFIED, memory_order_release,
		memory_order_relaxed))
		;
	return 0;
}

int store_layer_fill(struct store_layer *layer, size_t i, const void *data, struct err *err)
{
	return layer_fill(layer, i, data, true, err);
}

int store_layer_fill_spare(struct store_layer *layer, size_t i, const void *data, struct err *err)
{
	return layer_fill(layer, i, data, false, err);
}

/* The packed window of a span, from memory or from `windows`; the caller frees it. */
static int layer_packed_window(struct store_layer *layer, size_t i, void **ret, size_t *ret_len,
			       struct err *err)
{
	struct span span;
	void *spare = spares_take(&layer->spares, i, ret_len);
	if (spare) {
		*ret = spare;
		return 0;
	}
	if (!(store_layer_state(layer, i) & SPAN_WINDOW))
		return err_say(err, -EAGAIN, "the window of span %zu is not here yet", i);
	seek_get(layer->seek, i, &span);
	AUTO_FREE char *packed = malloc(span.win_len);
	if (!packed)
		return err_set(err, -ENOMEM, "read the window of span %zu", i);
	ssize_t got = file_pread(layer->windows_fd, packed, span.win_len, span.win_off);
	if (got < 0)
		return err_set(err, (int)got, "read the window of span %zu", i);
	*ret = steal_ptr(&packed);
	*ret_len = (size_t)got;
	return 0;
}

int store_layer_window(struct store_layer *layer, size_t i, void *ret, struct err *err)
{
	struct span span;
	AUTO_FREE void *packed = NULL;
	size_t len = 0;
	seek_get(layer->seek, i, &span);
	if (span.win_len == 0)
		return err_say(err, -EINVAL, "span %zu has no window", i);
	int r = layer_packed_window(layer, i, &packed, &len, err);
	if (r < 0)
		return r;
	size_t n = ZSTD_decompress(ret, SEEK_WINDOW_BYTES, packed, len);
	if (n == SEEK_WINDOW_BYTES)
		return 0;
	if (!digest_is_none(&layer->info.windows_digest)) {
		store_layer_drop_window(layer, i);
		return err_say(err, -EAGAIN, "the window of span %zu was damaged", i);
	}
	(void)err_say(err, -EBADMSG,
		      "the window of span %zu in the store is damaged: the next mount makes the layer anew", i);
	return layer_put_aside(layer, err);
}

int layer_check_window(const struct store_layer *layer, size_t i)
{
	struct span span;
	seek_get(layer->seek, i, &span);
	if (span.win_len == 0 || !(store_layer_state(layer, i) & SPAN_WINDOW))
		return 0;
	AUTO_FREE char *packed = malloc(span.win_len + SEEK_WINDOW_BYTES);
	if (!packed)
		return -ENOMEM;
	ssize_t got = file_pread(layer->windows_fd, packed, span.win_len, span.win_off);
	if (got < 0)
		return (int)got;
	size_t n = ZSTD_decompress(packed + span.win_len, SEEK_WINDOW_BYTES, packed, (size_t)got);
	return n == SEEK_WINDOW_BYTES ? 0 : -EBADMSG;
}

void store_layer_drop_window(struct store_layer *layer, size_t i)
{
	if (!digest_is_none(&layer->info.windows_digest))
		(void)atomic_fetch_and(&layer->present.state[i], ~(uint32_t)SPAN_WINDOW);
}

int store_layer_fill_windows(struct store_layer *layer, size_t first, size_t end, uint64_t off,
			     const void *data, size_t n, struct err *err)
{
	if (first > end || end > layer->present.count ||
	    !range_within(off, n, seek_windows_size(layer->seek)))
		return err_say(err, -EINVAL, "windows of spans %zu to %zu: out of range", first, end);
	struct span span;
	for (size_t i = first; i < end; i++) {
		seek_get(layer->seek, i, &span);
		if (span.win_len > 0 &&
		    (span.win_off < off || !range_within(span.win_off - off, span.win_len, n)))
			return err_say(err, -EINVAL,
				       "the window of span %zu is not in the bytes given", i);
	}
	if (n == 0)
		return 0;
	int r = file_pwrite(layer->windows_fd, data, n, off);
	if ((r == -ENOSPC || r == -EDQUOT) && store_make_room(layer->store, n))
		r = file_pwrite(layer->windows_fd, data, n, off);
	for (size_t i = first; i < end; i++) {
		seek_get(layer->seek, i, &span);
		if (span.win_len == 0)
			continue;
		if (r == 0)
			(void)atomic_fetch_or(&layer->present.state[i], SPAN_WINDOW);
		else if (spares_put(&layer->spares, i, (const char *)data + (span.win_off - off),
				    span.win_len) < 0)
			return err_set(err, r, "keep windows in the store %s", layer->store->path);
	}
	return 0;
}

void store_layer_touch(struct store_layer *layer)
{
	(void)futimens(layer->dirfd, NULL);
}

void store_layer_counts(const struct store_layer *layer, struct store_layer_counts *ret)
{
	struct store_layer_counts counts = {
		.spans = layer->present.count,
		.bytes = seek_out_size(layer->seek),
	};
	for (size_t i = 0; i < layer->present.count; i++) {
		struct span span;
		seek_get(layer->seek, i, &span);
		if (span.codec != SEEK_ZEROS && !(store_layer_state(layer, i) & SPAN_PRESENT))
			continue;
		counts.spans_present++;
		counts.bytes_present += span.out_len;
	}
	*ret = counts;
}
