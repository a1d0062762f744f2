package initramfs_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/initramfs"
)

const (
	depText = `kernel/drivers/md/dm-verity.ko: kernel/drivers/md/dm-bufio.ko kernel/drivers/md/dm-mod.ko
kernel/drivers/md/dm-bufio.ko: kernel/drivers/md/dm-mod.ko
kernel/drivers/md/dm-mod.ko:
kernel/arch/x86/crypto/sha256-ssse3.ko:
kernel/drivers/block/virtio_blk.ko.xz:
kernel/fs/erofs/erofs.ko: kernel/lib/libcrc32c.ko
kernel/lib/libcrc32c.ko:
kernel/arch/x86/crypto/crc32c-intel.ko:
kernel/broken.ko: kernel/missing.ko
kernel/round/a.ko: kernel/round/b.ko
kernel/round/b.ko: kernel/round/a.ko
`
	softText = `# Soft dependencies extracted from modules themselves.
softdep libcrc32c pre: crc32c crc32c_intel post: late
softdep crc32c_intel libcrc32c
`
	builtinText = "kernel/fs/ext4/ext4.ko\nkernel/drivers/nvme/host/nvme-core.ko\n"
)

func index(t *testing.T) *initramfs.ModuleIndex {
	t.Helper()
	x, err := initramfs.ReadModuleIndex(&initramfs.IndexFiles{
		Dep: strings.NewReader(depText), SoftDep: strings.NewReader(softText), Builtin: strings.NewReader(builtinText),
	})
	require.NoError(t, err)
	return x
}

func TestOrder(t *testing.T) {
	cases := []struct{ name, wanted, want string }{
		{"dependencies first", "dm-verity", "kernel/arch/x86/crypto/sha256-ssse3.ko kernel/drivers/md/dm-mod.ko kernel/drivers/md/dm-bufio.ko kernel/drivers/md/dm-verity.ko"},
		{"dash or underscore, once", "dm_mod dm-mod", "kernel/drivers/md/dm-mod.ko"},
		{"built in", "ext4 nvme_core virtio-blk", "kernel/drivers/block/virtio_blk.ko.xz"},
		{"soft dependency, in a circle", "erofs", "kernel/arch/x86/crypto/crc32c-intel.ko kernel/lib/libcrc32c.ko kernel/fs/erofs/erofs.ko"},
		{"nothing", "", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := index(t).Order(strings.Fields(c.wanted)...)
			require.NoError(t, err)
			assert.Equal(t, strings.Fields(c.want), append([]string{}, got...))
		})
	}
}

func TestOrderErrors(t *testing.T) {
	_, err := index(t).Order("dm-mod", "nosuch")
	assert.EqualError(t, err, `kernel module "nosuch": neither a module nor built into this kernel`)
	_, err = index(t).Order("broken")
	assert.EqualError(t, err, `kernel module "broken": needs "missing", which does not exist`)
}

func TestReadModuleIndexErrors(t *testing.T) {
	cases := []struct{ name, dep, soft, want string }{
		{"no colon", "kernel/a.ko", "", `modules.dep: line 1: no colon in "kernel/a.ko"`},
		{"leaves", "../a.ko:", "", `modules.dep: line 1: module path "../a.ko"`},
		{"absolute", "/a.ko:", "", `modules.dep: line 1: module path "/a.ko"`},
		{"not a softdep", "", "alias a b", `modules.softdep: line 1: not a softdep: "alias a b"`},
		{"long line", strings.Repeat("x", 70000), "", "modules.dep: bufio.Scanner: token too long"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := initramfs.ReadModuleIndex(&initramfs.IndexFiles{Dep: strings.NewReader(c.dep), SoftDep: strings.NewReader(c.soft)})
			assert.EqualError(t, err, c.want)
		})
	}
}

func FuzzReadModuleIndex(f *testing.F) {
	f.Add(depText, softText, builtinText, "erofs")
	f.Fuzz(func(t *testing.T, dep, soft, builtin, wanted string) {
		x, err := initramfs.ReadModuleIndex(&initramfs.IndexFiles{
			Dep: strings.NewReader(dep), SoftDep: strings.NewReader(soft), Builtin: strings.NewReader(builtin),
		})
		if err != nil {
			return
		}
		if paths, err := x.Order(wanted); err == nil {
			for _, p := range paths {
				assert.NotContains(t, "/"+p+"/", "/../")
			}
		}
	})
}
