package rootdev_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"slipway/cmd/internal/rootdev"
)

// machine makes a /sys, /proc and /dev: a disk vda with partitions, an NVMe
// disk, and the device-mapper device "usr" on vda3.
func machine(t *testing.T) rootdev.Env {
	t.Helper()
	root := t.TempDir()
	dir := func(path string) { require.NoError(t, os.MkdirAll(filepath.Join(root, path), 0o755)) }
	file := func(path, content string) {
		dir(filepath.Dir(path))
		require.NoError(t, os.WriteFile(filepath.Join(root, path), []byte(content), 0o644))
	}
	link := func(path, target string) {
		dir(filepath.Dir(path))
		require.NoError(t, os.Symlink(filepath.Join(root, target), filepath.Join(root, path)))
	}
	for number, device := range map[string]string{
		"254:0": "pci/vda", "254:3": "pci/vda/vda3", "254:9": "pci/vda/vda9", "253:0": "virtual/dm-0",
		"259:0": "pci/nvme0n1", "259:1": "pci/nvme0n1/nvme0n1p1", "104:1": "pci/cciss!c0d0",
		"259:4": "pci/nvme0n1/nvme0n1p3", "253:1": "virtual/dm-1", "179:0": "mmc/mmcblk0", "7:0": "virtual/loop7",
		"179:3": "mmc/mmcblk0/mmcblk0p3", "7:3": "virtual/loop7/loop7p3",
	} {
		dir("sys/devices/" + device)
		link("sys/dev/block/"+number, "sys/devices/"+device)
		file("dev/"+filepath.Base(device), "")
	}
	file("sys/devices/pci/vda/vda3/partition", "3\n")
	file("sys/devices/pci/vda/vda9/partition", "9\n")
	file("sys/devices/pci/nvme0n1/nvme0n1p1/partition", "1\n")
	for _, name := range []string{"pci/nvme0n1/nvme0n1p3", "mmc/mmcblk0/mmcblk0p3", "virtual/loop7/loop7p3"} {
		file("sys/devices/"+name+"/partition", "3\n")
	}
	link("sys/devices/virtual/dm-1/slaves/nvme0n1p3", "sys/devices/pci/nvme0n1/nvme0n1p3")
	link("sys/devices/virtual/dm-0/slaves/vda3", "sys/devices/pci/vda/vda3")
	file("dev/cciss/c0d0", "")
	file("proc/mounts", "/dev/vda9 / ext4 rw 0 0\nproc /proc proc rw 0 0\n/dev/mapper/usr /usr erofs ro 0 0\n"+
		"overlay /etc overlay rw 0 0\n/dev/nvme0n1p1 /srv/a\\040b ext4 rw 0 0\n")

	block := func(major, minor uint32) unix.Stat_t {
		return unix.Stat_t{Mode: unix.S_IFBLK, Rdev: unix.Mkdev(major, minor)}
	}
	on := func(major, minor uint32) unix.Stat_t {
		return unix.Stat_t{Mode: unix.S_IFDIR, Dev: unix.Mkdev(major, minor)}
	}
	stats := map[string]unix.Stat_t{
		"/dev/mapper/usr": block(253, 0), "/dev/vda9": block(254, 9), "/dev/nvme0n1p1": block(259, 1),
		"/": on(254, 9), "/usr": on(253, 0), "/usr/lib": on(253, 0), "/etc": on(0, 30), "/srv/a b": on(0, 40), "/odd": on(104, 1),
		"/nvme": on(253, 1), "/mmc": on(179, 3), "/loop": on(7, 3),
	}
	return rootdev.Env{
		Name: "rootdev", Dev: filepath.Join(root, "dev"), Proc: filepath.Join(root, "proc"), Sys: filepath.Join(root, "sys"),
		Stat: func(path string, st *unix.Stat_t) error {
			s, ok := stats[path]
			if !ok {
				return unix.ENOENT
			}
			*st = s
			return nil
		},
	}
}

func TestRootdev(t *testing.T) {
	tests := []struct {
		args []string
		want string
	}{
		{nil, "vda9"},
		{[]string{"-d"}, "vda"},
		{[]string{"/usr"}, "dm-0"},
		{[]string{"-s", "/usr"}, "vda3"},
		{[]string{"-s", "-d", "/usr"}, "vda"},
		{[]string{"-s", "/usr/"}, "vda3"},
		{[]string{"--s", "/usr/lib"}, "vda3"},
		{[]string{"/srv/a b"}, "nvme0n1p1"},
		{[]string{"-d", "/srv/a b"}, "nvme0n1"},
		{[]string{"/odd"}, "cciss/c0d0"},
		{[]string{"-s", "/nvme"}, "nvme0n1p3"},
		{[]string{"-s", "-d", "/nvme"}, "nvme0n1"},
		{[]string{"/mmc"}, "mmcblk0p3"},
		{[]string{"-d", "/mmc"}, "mmcblk0"},
		{[]string{"-s", "/loop"}, "loop7p3"},
		{[]string{"-d", "/loop"}, "loop7"},
		{[]string{"/dev/vda9"}, "vda9"},
	}
	for _, tt := range tests {
		env := machine(t)
		var out, errs bytes.Buffer
		env.Stdout, env.Stderr = &out, &errs
		assert.Equal(t, 0, rootdev.Main(tt.args, env), "%q", tt.args)
		assert.Equal(t, filepath.Join(env.Dev, tt.want)+"\n", out.String(), "%q", tt.args)
		assert.Empty(t, errs.String())
	}
}

func TestRootdevErrors(t *testing.T) {
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"/etc"}, "rootdev: /etc: no block device holds it (device number 0:30)\n"},
		{[]string{"/none"}, "rootdev: /none: no such file or directory\n"},
		{[]string{"a", "b"}, "Too many free arguments: 1\n"},
		{[]string{"-x"}, "rootdev [OPTIONS] [PATH]\n"},
	}
	for _, tt := range tests {
		env := machine(t)
		var out, errs bytes.Buffer
		env.Stdout, env.Stderr = &out, &errs
		assert.Equal(t, 1, rootdev.Main(tt.args, env))
		assert.Contains(t, errs.String(), tt.want)
		assert.Empty(t, out.String())
	}
}

func TestRootdevWithoutNode(t *testing.T) {
	env := machine(t)
	require.NoError(t, os.Remove(filepath.Join(env.Dev, "vda9")))
	var out, errs bytes.Buffer
	env.Stdout, env.Stderr = &out, &errs
	assert.Equal(t, 1, rootdev.Main(nil, env))
	assert.Equal(t, filepath.Join(env.Dev, "vda9")+"\n", out.String())
	assert.Equal(t, 0, rootdev.Main([]string{"-i"}, env))
}
