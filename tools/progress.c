/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/progress.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/num.h"

enum {
	PROGRESS_BAR = 30,
	PROGRESS_LINE_MAX = 160,
	PROGRESS_ROWS = 24, /* of a terminal that does not tell its size */
	PROGRESS_COLUMNS = 80,
};

struct progress_row {
	const char *what; /* NULL: nothing happened yet */
	uint64_t done, total;
};

struct progress {
	struct image_progress image;
	pthread_mutex_t lock;
	bool terminal, quiet;
	size_t count;	   /* layers of the image */
	size_t drawn;	   /* lines that stand on the terminal */
	uint64_t drawn_ns;
	struct progress_row rows[PROGRESS_LAYERS_MAX];
};

/* No line is wider than the terminal: one that wraps is two, and the next drawing would miss it. */
static void progress_draw_row(struct buf *out, size_t i, const struct progress_row *row, int columns)
{
	char line[PROGRESS_LINE_MAX];
	char bar[PROGRESS_BAR + 1];
	char done[SIZE_TEXT_MAX], total[SIZE_TEXT_MAX];
	size_t full = row->total ? (size_t)(u64_min(row->done, row->total) * PROGRESS_BAR / row->total) : 0;
	memset(bar, '-', PROGRESS_BAR);
	memset(bar, '#', full);
	bar[PROGRESS_BAR] = '\0';
	(void)snprintf(line, sizeof(line), "layer %2zu  [%s]  %s of %s  %s", i + 1, bar,
		       size_text(row->done, done), size_text(row->total, total),
		       row->what ? row->what : "waiting");
	(void)buf_printf(out, "\r\033[K%.*s\n", columns - 1, line);
}

static bool progress_is_done(const struct progress_row *row)
{
	return row->what && row->done >= row->total;
}

/* The first layers that there is room for: those that are done make way for those that are not. */
static void progress_draw_rows(struct progress *p, struct buf *out, size_t room, int columns)
{
	size_t n = (size_t)u64_min(p->count, PROGRESS_LAYERS_MAX);
	size_t hidden = n > room ? n - room : 0;
	p->drawn = 0;
	for (size_t i = 0; i < n && p->drawn < room; i++) {
		if (hidden > 0 && progress_is_done(&p->rows[i])) {
			hidden--;
			continue;
		}
		progress_draw_row(out, i, &p->rows[i], columns);
		p->drawn++;
	}
}

/* One write, so that nothing else gets between the lines. Called with the lock held. */
static void progress_draw(struct progress *p)
{
	AUTO_FINISH(buf) struct buf out = buf_make(64 << 10);
	struct winsize size = {0};
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_row < 2 || size.ws_col < 2)
		size = (struct winsize){.ws_row = PROGRESS_ROWS, .ws_col = PROGRESS_COLUMNS};
	if (p->drawn > 0)
		(void)buf_printf(&out, "\033[%zuA", p->drawn);
	/* The cursor's line is below the last. */
	progress_draw_rows(p, &out, size.ws_row - 1U, size.ws_col);
	(void)buf_printf(&out, "\033[J");
	p->drawn_ns = clock_now_ns();
	(void)file_write(STDERR_FILENO, buf_str(&out), out.len);
}

static void progress_layer(void *data, size_t i, size_t n, const char *what, uint64_t done,
			   uint64_t total)
{
	struct progress *p = data;
	if (i >= PROGRESS_LAYERS_MAX || p->quiet)
		return;
	(void)pthread_mutex_lock(&p->lock);
	struct progress_row *row = &p->rows[i];
	bool begun = row->what == NULL;
	bool ended = done >= total && row->done < total;
	*row = (struct progress_row){.what = what, .done = done, .total = total};
	p->count = n;
	char size[SIZE_TEXT_MAX];
	if (p->terminal) {
		if (begun || ended || clock_now_ns() - p->drawn_ns > PROGRESS_REDRAW_MS * NS_PER_MS)
			progress_draw(p);
	} else if (begun || ended) {
		(void)fprintf(stderr, "layer %zu of %zu: %s%s %s\n", i + 1, n, ended ? "done " : "",
			      what, size_text(total, size));
	}
	(void)pthread_mutex_unlock(&p->lock);
}

int progress_create(bool terminal, bool quiet, struct progress **ret, struct err *err)
{
	struct progress *p = calloc(1, sizeof(*p));
	if (!p)
		return err_set(err, -ENOMEM, "show progress");
	(void)pthread_mutex_init(&p->lock, NULL);
	p->terminal = terminal;
	p->quiet = quiet;
	p->image = (struct image_progress){.layer = progress_layer, .data = p};
	*ret = p;
	return 0;
}

void progress_destroy(struct progress *p)
{
	if (!p)
		return;
	if (p->drawn > 0)
		progress_draw(p);
	(void)pthread_mutex_destroy(&p->lock);
	free(p);
}

const struct image_progress *progress_image(const struct progress *p)
{
	return &p->image;
}
