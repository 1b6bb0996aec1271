/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/run_devices.h"

#include <errno.h>

#include "exec/cdi.h"

static int add_gpus(const struct cdi *cdi, const char *value, struct words *names, struct err *err)
{
	char **list = NULL;
	int r = cdi_gpus(cdi, value, &list, err);
	if (r < 0)
		return r;
	for (size_t i = 0; list[i] && r == 0; i++)
		r = words_add(names, list[i]);
	cdi_names_free(list);
	return r < 0 ? err_set(err, r, "take --gpus") : 0;
}

int run_devices(const struct run_options *options, struct oci_config *config, struct err *err)
{
	const struct opt_many *gpus = &options->flags->gpus, *given = &options->flags->cdi_spec_dir;
	AUTO(cdi) struct cdi *cdi = NULL;
	AUTO_FINISH(words) struct words names = {0};
	AUTO_FINISH(words) struct words dirs = {0};
	int r = 0;
	if (options->cdi.count == 0 && gpus->count == 0)
		return 0;
	for (size_t i = 0; i < given->count && r == 0; i++)
		r = words_add(&dirs, given->items[i]);
	for (size_t i = 0; i < options->cdi.count && r == 0; i++)
		r = words_add(&names, options->cdi.items[i]);
	if (r < 0)
		return err_set(err, r, "take --device");
	r = cdi_create(given->count > 0 ? (const char *const *)dirs.items : cdi_default_dirs, &cdi,
		       err);
	for (size_t i = 0; i < gpus->count && r == 0; i++)
		r = add_gpus(cdi, gpus->items[i], &names, err);
	return r == 0 ? cdi_apply(cdi, (const char *const *)names.items, config, err) : r;
}
