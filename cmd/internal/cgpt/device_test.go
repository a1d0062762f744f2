package cgpt_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"slipway/cmd/internal/cgpt"
)

// machine makes a /sys, /proc and /dev with the default layout on the disk
// vda and on the NVMe disk nvme0n1, and a disk without a table.
func machine(t *testing.T) (env cgpt.Env, out, errs *bytes.Buffer) {
	t.Helper()
	root := t.TempDir()
	write := func(path, content string) {
		path = filepath.Join(root, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	}
	write("proc/partitions", "major minor  #blocks  name\n\n 254        0    8388608 vda\n 254        4    1048576 vda4\n"+
		"   7        0      10240 loop0\n 259        0    8388608 nvme0n1\n 253        0    1048576 dm-0\n   8        0       1024 sda\n")
	write("sys/devices/vda/vda4/partition", "4\n")
	write("sys/block/vda/device", "")
	write("sys/block/nvme0n1/nvme0n1p4/partition", "4\n")
	write("sys/block/loop0/size", "")
	write("sys/block/sda/device", "")
	write("dev/sda", string(make([]byte, 1<<20)))
	write("dev/loop0", "")
	for _, name := range []string{"vda", "nvme0n1"} {
		require.NoError(t, os.Symlink(coreos(t), filepath.Join(root, "dev", name)))
	}
	require.NoError(t, os.MkdirAll(filepath.Join(root, "sys/dev/block"), 0o755))
	require.NoError(t, os.Symlink(filepath.Join(root, "sys/devices/vda/vda4"), filepath.Join(root, "sys/dev/block/254:4")))
	out, errs = new(bytes.Buffer), new(bytes.Buffer)
	return cgpt.Env{
		Name: "cgpt", Stdout: out, Stderr: errs, NewUUID: uuid.New,
		Dev: filepath.Join(root, "dev"), Proc: filepath.Join(root, "proc"), Sys: filepath.Join(root, "sys"),
		Stat: func(path string, st *unix.Stat_t) error {
			if path == "/dev/vda4" {
				st.Mode, st.Rdev = unix.S_IFBLK, unix.Mkdev(254, 4)
				return nil
			}
			return unix.Stat(path, st)
		},
	}, out, errs
}

func TestPartitionDevicesStandForTheirDisk(t *testing.T) {
	env, out, errs := machine(t)
	require.Equal(t, 0, cgpt.Main([]string{"show", "-l", "/dev/vda4"}, env), errs)
	require.Equal(t, 0, cgpt.Main([]string{"prioritize", "/dev/vda4"}, env), errs)
	require.Equal(t, 0, cgpt.Main([]string{"show", "-P", "/dev/vda4"}, env), errs)
	require.Equal(t, 0, cgpt.Main([]string{"add", "-T", "3", "/dev/vda4"}, env), errs)
	require.Equal(t, 0, cgpt.Main([]string{"show", "-i", "4", "-T", filepath.Join(env.Dev, "vda")}, env), errs)
	assert.Equal(t, "USR-B\n2\n3\n", out.String())
	assert.Equal(t, 1, cgpt.Main([]string{"create", "--force", "/dev/vda4"}, env))
	assert.Contains(t, errs.String(), "vda: partition 4 is no place for a table")
}

func TestFindOnAllDisks(t *testing.T) {
	env, out, errs := machine(t)
	assert.Equal(t, 0, cgpt.Main([]string{"find", "-l", "USR-B"}, env))
	assert.Equal(t, env.Dev+"/vda4\n"+env.Dev+"/nvme0n1p4\n", out.String())
	assert.Equal(t, "WARNING: Primary GPT header is invalid\nWARNING: Secondary GPT header is invalid\n", errs.String(),
		"of sda; loop0 has no partitions and dm-0 is none of these")
	assert.Equal(t, 1, cgpt.Main([]string{"find", "-1", "-l", "USR-B"}, env))
}

func TestNextOfAllDisks(t *testing.T) {
	env, out, errs := machine(t)
	require.Equal(t, 0, cgpt.Main([]string{"add", "-i4", "-P3", "-T1", filepath.Join(env.Dev, "nvme0n1")}, env), errs)
	require.Equal(t, 0, cgpt.Main([]string{"next"}, env))
	require.Equal(t, 0, cgpt.Main([]string{"show", "-i4", "-T", filepath.Join(env.Dev, "nvme0n1")}, env))
	assert.Equal(t, "e03dd35c-7c2d-4a47-b3fe-27f15780a57c\n0\n", out.String())
}
