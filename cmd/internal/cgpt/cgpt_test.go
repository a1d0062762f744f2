package cgpt_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/partitions"
)

// coreos writes the default layout into a sparse file.
func coreos(t *testing.T) (path string) {
	t.Helper()
	path = strings.TrimSuffix(inMemory(t), ".img")
	l := partitions.DefaultLayout(partitions.SeededUUIDs(uuid.NameSpaceOID))
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, f.Truncate(l.DiskSize()))
	require.NoError(t, partitions.Create(f, l.DiskSize(), l))
	return path
}

// must runs a command that has to succeed without a word on stderr.
func must(t *testing.T, args ...string) string {
	t.Helper()
	got := run(args...)
	require.Equal(t, result{got.out, "", 0}, got, "%q", args)
	return got.out
}

func TestShowDefaultLayout(t *testing.T) {
	assert.Equal(t, `       start        size    part  contents
           0           1          PMBR
           1           1          Pri GPT header
           2          32          Pri GPT table
        4096      262144       1  Label: "EFI-SYSTEM"
                                  Type: EFI System Partition
                                  UUID: 8D24E1C2-0762-5052-A525-A72DC81908D3
                                  Attr: legacy_boot=1 
      266240        4096       2  Label: "BIOS-BOOT"
                                  Type: BIOS Boot Partition
                                  UUID: D99B26E0-DA38-5111-BB44-1BD1F2854482
      270336     2097152       3  Label: "USR-A"
                                  Type: Alias for coreos-rootfs
                                  UUID: 7130C94A-213A-4E5A-8E26-6CCE9662F132
                                  Attr: priority=1 tries=0 successful=1 
     2367488     2097152       4  Label: "USR-B"
                                  Type: Alias for coreos-rootfs
                                  UUID: E03DD35C-7C2D-4A47-B3FE-27F15780A57C
                                  Attr: priority=0 tries=0 successful=0 
     4464640      262144       6  Label: "OEM"
                                  Type: Linux data
                                  UUID: 6873670F-305E-5D8F-8D7E-E94E953FE5AB
     4726784      131072       7  Label: "OEM-CONFIG"
                                  Type: CoreOS reserved
                                  UUID: 9ADFD963-E9AE-5C62-960B-D69C4C980CC2
     4857856    11919327       9  Label: "ROOT"
                                  Type: CoreOS auto-resize
                                  UUID: 721CC68D-F106-51D5-8D06-5D47547F7271
    16777183          32          Sec GPT table
    16777215           1          Sec GPT header
`, must(t, "show", coreos(t)))
}

// What administrators did on CoreOS to go back to the other slot.
func TestSwitchSlotsByHand(t *testing.T) {
	disk := coreos(t)
	assert.Equal(t, disk+"3\n"+disk+"4\n", must(t, "find", "-t", "coreos-usr", disk))
	assert.Empty(t, must(t, "add", "-i", "4", "-S", "1", disk))
	assert.Empty(t, must(t, "prioritize", "-i", "4", disk))
	assert.Equal(t, "2\n", must(t, "show", "-i", "4", "-P", disk))
	assert.Equal(t, "1\n", must(t, "show", "-i", "3", "-P", disk))
	assert.Equal(t, partitions.UUIDUSRB+"\n", must(t, "next", disk))
	assert.Empty(t, must(t, "prioritize", "-i3", disk))
	assert.Equal(t, partitions.UUIDUSRA+"\n", must(t, "next", disk))
}

func TestNextTakesATry(t *testing.T) {
	disk := coreos(t)
	must(t, "add", "-i", "4", "-P", "2", "-T", "1", disk)
	assert.Equal(t, partitions.UUIDUSRB+"\n", must(t, "next", disk))
	assert.Equal(t, "0\n", must(t, "show", "-i", "4", "-T", disk))
	assert.Equal(t, partitions.UUIDUSRA+"\n", must(t, "next", disk))
	must(t, "--force", "add", "-i", "3", "-P", "0", disk)
	assert.Equal(t, result{"", "ERROR: no bootable slot\n", 1}, run("next", disk))
}

func TestTheLastBootableSlotIsKept(t *testing.T) {
	disk := coreos(t)
	before, err := partitions.Read(open(t, disk), 8<<30, 512)
	require.NoError(t, err)
	for _, args := range [][]string{
		{"add", "-i", "3", "-P", "0"}, {"add", "-i", "3", "-S", "0"}, {"add", "-i", "3", "-t", "unused"},
		{"add", "-i", "3", "-t", "data"}, {"add", "-i", "3", "-A", "0"}, {"create"}, {"create", "-z"}, {"legacy"},
	} {
		got := run(append(args, disk)...)
		assert.Equal(t, result{"", "ERROR: " + disk + ": no bootable slot would be left; --force does it all the same\n", 1}, got, "%q", args)
		after, err := partitions.Read(open(t, disk), 8<<30, 512)
		require.NoError(t, err)
		require.Equal(t, before, after, "nothing is written")
	}
	must(t, "legacy", "--force", disk)
	must(t, "create", "--force", "-g", partitions.UUIDUSRA, disk)
	assert.NotContains(t, must(t, "show", disk), "USR")
}

func TestLegacy(t *testing.T) {
	disk := coreos(t)
	show := must(t, "show", "-v", disk)
	must(t, "legacy", "--force", disk)
	got := run("show", disk)
	assert.Contains(t, got.out, " INVALID  Pri GPT table")
	assert.Contains(t, got.out, `Label: "ROOT"`)
	must(t, "legacy", "-e", disk)
	assert.Equal(t, show, must(t, "show", "-v", disk))

	must(t, "legacy", "-p", disk)
	assert.Contains(t, run("show", disk).out, " IGNORED  Pri GPT header")
	run("legacy", "-e", disk)
	assert.Equal(t, show, must(t, "show", "-v", disk))

	// The original would copy a lost secondary over the primary here.
	f := open(t, disk)
	_, err := f.WriteAt(make([]byte, 33*512), 8<<30-33*512)
	require.NoError(t, err)
	run("legacy", "-e", disk)
	run("repair", disk)
	assert.Equal(t, show, must(t, "show", "-v", disk))
}

func TestResize(t *testing.T) {
	disk := coreos(t)
	must(t, "resize", "-i", "9", disk)
	assert.Equal(t, "11919327\n", must(t, "show", "-i", "9", "-s", disk), "no room")

	require.NoError(t, os.Truncate(disk, 8<<30+1<<20))
	run("resize", "-i", "9", disk)
	assert.Contains(t, run("show", disk).errs, "WARNING", "less than 2 MiB is left alone")
	run("resize", "-i", "9", "-m", "1", disk)
	assert.Equal(t, "11921375\n", must(t, "show", "-i", "9", "-s", disk))
	assert.Equal(t, result{"", "ERROR: " + disk + ": partition 5: not in the table\n", 1}, run("resize", "-i", "5", disk))
	assert.Equal(t, result{"", "ERROR: " + disk + ": not a partition, and -i names none\n", 1}, run("resize", disk))
}

func TestRepairAfterGrowth(t *testing.T) {
	disk := coreos(t)
	require.NoError(t, os.Truncate(disk, 9<<30))
	got := run("repair", disk)
	assert.Equal(t, "Primary Header is updated.\nSecondary Entries is updated.\nSecondary Header is updated.\n", got.out)
	table, err := partitions.Read(open(t, disk), 9<<30, 512)
	require.NoError(t, err)
	assert.False(t, table.Damaged())
	assert.EqualValues(t, 9<<30/512-34, table.LastUsable)
}

func TestCreateAnImage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new.img")
	got := run("create", "-c", "-s", "8192", "-g", partitions.UnsetDiskUUID, path)
	assert.Equal(t, 0, got.code)
	assert.Contains(t, must(t, "show", "-v", path), "Disk UUID: 00000000-0000-0000-0000-000000000001\n")
	assert.Contains(t, run("create", "-c", path).errs, "minimum size (-s) is required with create (-c)")
	got = run("create", "-s", "20", filepath.Join(filepath.Dir(path), "none"))
	assert.Contains(t, got.errs, "No such file or directory")
	must(t, "create", "-p", "100", path)
	assert.Contains(t, must(t, "show", path), "         102          32          Pri GPT table\n")
	must(t, "create", "-z", path)
	assert.Contains(t, run("show", path).errs, "ERROR: GptValidityCheck() returned 2: GPT_ERROR_INVALID_HEADERS\n")
}

func TestBadInput(t *testing.T) {
	dir := t.TempDir()
	short := filepath.Join(dir, "short")
	require.NoError(t, os.WriteFile(short, make([]byte, 100), 0o644))
	tiny := filepath.Join(dir, "tiny")
	require.NoError(t, os.WriteFile(tiny, make([]byte, 512), 0o644))
	disk := coreos(t)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"show", "/nonexistent"}, "ERROR: Can't open /nonexistent: No such file or directory\n"},
		{[]string{"show", dir}, fmt.Sprintf("ERROR: Can't get drive size and bytes per sector for %s: Inappropriate ioctl for device\n", dir)},
		{[]string{"show", "/dev/null"}, "ERROR: Can't get drive size and bytes per sector for /dev/null: Inappropriate ioctl for device\n"},
		{[]string{"show", short}, "ERROR: Media size (100) is not a multiple of sector size(512)\n"},
		{[]string{"show", tiny}, "ERROR: Can't read enough: 0, not 512\nERROR: Cannot read primary GPT header\n"},
		{[]string{"add", dir}, fmt.Sprintf("ERROR: Can't open %s: Is a directory\n", dir)},
		{[]string{"add", "-i", "5", "-t", "data", "-b", "4096", "-s", "1", "-u", partitions.UUIDUSRA, disk},
			"ERROR: Starting LBA overlaps\nERROR: -i 5 -b 4096 -s 1 -t 0FC63DAF-8483-4772-8E79-3D69D8477DE4 -u 7130C94A-213A-4E5A-8E26-6CCE9662F132 \n"},
		{[]string{"add", "-i", "3", "-l", "\xff", disk}, "ERROR: The label cannot be converted to UTF16.\n"},
		{[]string{"prioritize", "-i", "9", disk}, "ERROR: partition 9 is not a ChromeOS kernel\n"},
		{[]string{"show", "-D", "5", disk}, "ERROR: partitions on another drive than the table (-D) are not supported\n"},
		{[]string{"next", "/nonexistent"}, "ERROR: Can't open /nonexistent: No such file or directory\nERROR: no bootable slot\n"},
		{[]string{"repair"}, "ERROR: missing drive argument\n"},
	} {
		got := run(tt.args...)
		assert.Equal(t, tt.want, got.errs, "%q", tt.args)
		assert.Equal(t, 1, got.code, "%q", tt.args)
	}
	assert.Contains(t, run().out, "For more detailed usage, use cgpt COMMAND -h")
	assert.Equal(t, 1, run("re").code, "repair and resize begin so")
}

// Programs that change a table at the same time wait for each other.
func TestOneAfterTheOther(t *testing.T) {
	disk := coreos(t)
	var all sync.WaitGroup
	for _, part := range []string{"3", "4", "6"} {
		all.Go(func() {
			for n := range 20 {
				got := run("add", "-i", part, "-l", fmt.Sprintf("%s-%d", part, n), disk)
				assert.Equal(t, result{}, got)
			}
		})
	}
	all.Wait()
	for _, part := range []string{"3", "4", "6"} {
		assert.Equal(t, part+"-19\n", must(t, "show", "-i", part, "-l", disk))
	}
}

// Every command on odd and damaged images: one that fails writes nothing, and
// none writes anything but the table and the first sector.
func TestCommandsWriteTheTableOrNothing(t *testing.T) {
	path := inMemory(t)
	content := filepath.Join(t.TempDir(), "content")
	require.NoError(t, os.WriteFile(content, []byte("content"), 0o644))
	for seed := range uint64(40) {
		m, _ := generate(seed)
		for i, args := range commands(seed, content) {
			if testing.Short() && (uint64(i)+seed)%4 != 0 {
				continue
			}
			require.NoError(t, os.WriteFile(path, m, 0o644))
			got := run(append(args, path)...)
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			name := fmt.Sprintf("image %d: cgpt %q", seed, args)
			if got.code != 0 {
				require.True(t, bytes.Equal(m, after), "%s failed and wrote:%s", name, differences(m, after))
			}
			start, end := 34*512, len(m)-33*512
			if args[0] == "create" && slices.Contains(args, "-p") {
				start += 3000 * 512 // the padding goes before the entries
			}
			require.True(t, bytes.Equal(m[start:end], after[start:end]), "%s wrote:%s", name, differences(m, after))
		}
	}
}

// The image of a disk with sectors of 4096 bytes is known by its table.
func TestLargeSectors(t *testing.T) {
	l := partitions.DefaultLayout(partitions.SeededUUIDs(uuid.NameSpaceOID))
	l.SectorSize, l.DiskSectors, l.Alignment = 4096, l.DiskSectors/8, 512
	for i := range l.Partitions {
		l.Partitions[i].Start /= 8
		l.Partitions[i].Size /= 8
	}
	disk := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(disk, nil, 0o644))
	require.NoError(t, os.Truncate(disk, l.DiskSize()))
	f := open(t, disk)
	require.NoError(t, partitions.Create(f, l.DiskSize(), l))

	show := must(t, "show", disk)
	assert.Contains(t, show, "           2           4          Pri GPT table\n")
	assert.Contains(t, show, "       33792      262144       3  Label: \"USR-A\"\n")
	assert.Contains(t, show, "     2097147           4          Sec GPT table\n")
	assert.Contains(t, must(t, "show", "-v", disk), "LBA Size (bytes): 4096\n")
	assert.Equal(t, disk+"4\n", must(t, "find", "-l", "USR-B", disk))
	must(t, "add", "-i", "4", "-T", "1", disk)
	must(t, "prioritize", "-i", "4", disk)
	assert.Equal(t, partitions.UUIDUSRB+"\n", must(t, "next", disk))
	must(t, "add", "-i", "5", "-b", "6", "-s", "8", "-t", "data", "-l", "new", disk)
	assert.Equal(t, "6\n", must(t, "show", "-i", "5", "-b", disk))

	_, err := f.WriteAt(make([]byte, 5*4096), 4096)
	require.NoError(t, err)
	assert.Equal(t, "Primary Header is updated.\nPrimary Entries is updated.\n", run("repair", disk).out)
	require.NoError(t, os.Truncate(disk, 9<<30))
	run("resize", "-i", "9", disk)
	table, err := partitions.Read(f, 9<<30, 4096)
	require.NoError(t, err)
	assert.False(t, table.Damaged())
	root, _ := table.Partition(9)
	assert.EqualValues(t, 9<<30/4096-6, root.End())
	assert.Equal(t, partitions.Slot(2, 0, false), table.Partitions[3].Attributes)
}

func TestPartitionsOfNumberedDrives(t *testing.T) {
	dir := filepath.Dir(coreos(t))
	for name, want := range map[string]string{"nvme0n1": "nvme0n1p3", "loop7": "loop7p3", "vda": "vda3", "mmcblk0": "mmcblk0p3"} {
		link := filepath.Join(dir, name)
		require.NoError(t, os.Symlink("disk", link))
		assert.Equal(t, filepath.Join(dir, want), strings.TrimSpace(must(t, "find", "-l", "USR-A", link)))
	}
}

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}
