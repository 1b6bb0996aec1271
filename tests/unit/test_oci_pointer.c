/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/spec/pointer.h"

#include "tests/unit/unit.h"

static const struct oci_path root;

static void check(const struct oci_path *path, const char *pointer, const char *text)
{
	AUTO_FINISH(buf) struct buf buf = buf_make(1 << 20);
	char said[OCI_POINTER_MAX];
	assert_int_equal(oci_path_append(path, &buf), 0);
	assert_string_equal(buf_str(&buf), pointer);
	assert_string_equal(oci_path_text(path, said), text);
}

static void test_pointer(void **state)
{
	(void)state;
	struct oci_path process = oci_path_key(&root, "process");
	struct oci_path args = oci_path_key(&process, "args");
	struct oci_path arg = oci_path_index(&args, 12);
	struct oci_path odd = oci_path_key(&root, "a/b~c");
	struct oci_path empty = oci_path_key(&root, "");
	check(&root, "", "/");
	check(&process, "/process", "/process");
	check(&arg, "/process/args/12", "/process/args/12");
	check(&odd, "/a~1b~0c", "/a~1b~0c");
	check(&empty, "/", "/");
}

/* The exact pointer stays whole; what a sentence shows of it is cut. */
static void test_pointer_long(void **state)
{
	(void)state;
	char key[2 * OCI_POINTER_MAX + 1], said[OCI_POINTER_MAX];
	memset(key, 'k', sizeof(key) - 1);
	key[sizeof(key) - 1] = '\0';
	struct oci_path path = oci_path_key(&root, key);
	struct oci_path below = oci_path_index(&path, 3);
	AUTO_FINISH(buf) struct buf buf = buf_make(1 << 20);
	assert_int_equal(oci_path_append(&below, &buf), 0);
	assert_int_equal(buf.len, 1 + strlen(key) + 2);
	oci_path_text(&below, said);
	assert_int_equal(strlen(said), OCI_POINTER_MAX - 1);
	assert_string_equal(said + OCI_POINTER_MAX - 5, "k...");
	struct buf small = buf_make(8);
	assert_int_equal(oci_path_append(&below, &small), -E2BIG);
	buf_finish(&small);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pointer),
		cmocka_unit_test(test_pointer_long),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
