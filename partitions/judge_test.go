package partitions_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/tools/toolstest"
	"slipway/partitions"
	"slipway/qemu-tests/powercut"
)

// judge runs a foreign program and returns what it prints.
func judge(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := toolstest.Command(t, name, args...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, out)
	return string(out)
}

// image puts a disk into a sparse file.
func image(t *testing.T, d *powercut.Disk) (path string, f *os.File) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "disk.img")
	f, err := os.Create(path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	require.NoError(t, f.Truncate(d.Size()))
	require.NoError(t, d.Written(func(off int64, data []byte) error {
		_, err := f.WriteAt(data, off)
		return err
	}))
	return path, f
}

// assertClean asks sgdisk and cgpt whether the table is good, and cgpt
// whether every field is what Read says.
func assertClean(t *testing.T, path string, table *partitions.Table) {
	t.Helper()
	assert.Contains(t, judge(t, "sgdisk", "-v", path), "No problems found")
	show := judge(t, "cgpt", "show", path)
	assert.NotContains(t, show, "INVALID")
	assert.NotContains(t, show, "WARNING")
	for _, p := range table.Partitions {
		field := func(flag string) string {
			return strings.TrimSpace(judge(t, "cgpt", "show", "-i", fmt.Sprint(p.Number), flag, path))
		}
		got := fmt.Sprintln(field("-b"), field("-s"), field("-l"), field("-t"), field("-u"), field("-P"), field("-T"), field("-S"), field("-A"))
		a := p.Attributes
		successful := 0
		if a.Successful() {
			successful = 1
		}
		raw := "0" // C's %#x has no prefix for zero
		if a>>48 != 0 {
			raw = fmt.Sprintf("%#x", uint64(a)>>48)
		}
		want := fmt.Sprintln(p.Start, p.Size, p.Label, strings.ToUpper(p.Type.String()), strings.ToUpper(p.UUID.String()),
			a.Priority(), a.Tries(), successful, raw)
		assert.Equal(t, want, got)
	}
}

func TestJudgesAcceptEveryState(t *testing.T) {
	toolstest.Command(t, "cgpt")
	path, f := image(t, defaultDisk(t))
	size := partitions.DefaultLayout(ids()).DiskSize()
	table, err := partitions.Read(f, size, 512)
	require.NoError(t, err)
	assertClean(t, path, table)

	require.NoError(t, partitions.SetAttributes(f, table, 4, partitions.Slot(2, 1, false)))
	assertClean(t, path, table)
	require.NoError(t, partitions.UseTry(f, table, 4))
	assertClean(t, path, table)

	require.NoError(t, f.Truncate(size+3<<20))
	table, err = partitions.Read(f, size+3<<20, 512)
	require.NoError(t, err)
	require.NoError(t, partitions.Grow(f, table, 9))
	assertClean(t, path, table)
}

func TestJudgesAcceptRepairs(t *testing.T) {
	toolstest.Command(t, "sgdisk")
	for what, spoil := range damage(t, 512) {
		t.Run(what, func(t *testing.T) {
			m := defaultDisk(t)
			spoil(m)
			path, f := image(t, m)
			table, err := partitions.Read(f, m.Size(), 512)
			require.NoError(t, err)
			require.NoError(t, partitions.Repair(f, table))
			assertClean(t, path, table)
		})
	}
}

// What sgdisk and cgpt write is read back the way they show it.
func TestReadWhatJudgesWrite(t *testing.T) {
	toolstest.Command(t, "sgdisk")
	path, f := image(t, powercut.New(64<<20))
	judge(t, "sgdisk", "-n", "3:4096:8191", "-t", "3:"+partitions.TypeUSR, "-c", "3:USR-Ä", "-u", "3:"+partitions.UUIDUSRA,
		"-A", "3:set:56", "-A", "3:set:48", "-n", "128:8192:0", path)
	table, err := partitions.Read(f, 64<<20, 512)
	require.NoError(t, err)
	require.Len(t, table.Partitions, 2)
	p := table.Partitions[0]
	assert.Equal(t, "3 USR-Ä 4096+4096 priority=1 tries=0 successful=1",
		fmt.Sprintf("%d %s %d+%d %v", p.Number, p.Label, p.Start, p.Size, p.Attributes))
	assert.Equal(t, partitions.UUIDUSRA, p.UUID.String())
	n, _ := partitions.Next(table)
	assert.Equal(t, 3, n)

	judge(t, "cgpt", "add", "-i", "3", "-P", "5", "-T", "3", "-S", "0", path)
	table, err = partitions.Read(f, 64<<20, 512)
	require.NoError(t, err)
	assert.Equal(t, partitions.Slot(5, 3, false), table.Partitions[0].Attributes)
	assert.False(t, table.Damaged())
}

// Random tables are byte for byte those that sgdisk writes of the same
// partitions, and that cgpt does where it can set everything.
func TestJudgesWriteTheSameTables(t *testing.T) {
	toolstest.Command(t, "sgdisk")
	compared := 0
	for seed := uint64(0); compared < 30; seed++ {
		l := randomLayout(rand.New(rand.NewPCG(seed, 4)))
		if l.SectorSize != 512 || l.DiskSize() > 4<<40 {
			continue // of image files they know no other sectors
		}
		compared++
		want := create(t, l)
		path, f := image(t, powercut.New(l.DiskSize()))
		judge(t, "sgdisk", append(sgdiskArgs(l), path)...)
		sameTable(t, fmt.Sprintf("seed %d: sgdisk", seed), want, f)
		assert.Contains(t, judge(t, "sgdisk", "-v", path), "No problems found")

		if compared%3 != 0 {
			continue
		}
		path, f = image(t, powercut.New(l.DiskSize()))
		judge(t, "cgpt", "create", path)
		table, err := partitions.Read(f, l.DiskSize(), 512)
		require.NoError(t, err)
		l.DiskUUID = table.DiskUUID
		for i := range l.Partitions {
			p := &l.Partitions[i]
			p.Attributes &= 0xffff << 48 // all that -A sets
			label := []rune(p.Label)
			p.Label = string(label[:min(len(label), 35)]) // all that -l stores
			judge(t, "cgpt", append(cgptArgs(*p), path)...)
		}
		sameTable(t, fmt.Sprintf("seed %d: cgpt", seed), create(t, l), f)
	}
}

// sgdiskArgs make the table of a layout.
func sgdiskArgs(l partitions.Layout) []string {
	args := []string{"-a", "1", "-U", l.DiskUUID.String()}
	for _, p := range l.Partitions {
		n := fmt.Sprint(p.Number)
		args = append(args, "-n", fmt.Sprintf("%s:%d:%d", n, p.Start, p.End()), "-t", n+":"+p.Type.String(),
			"-u", n+":"+p.UUID.String(), "-c", n+":"+p.Label, "-A", fmt.Sprintf("%s:=:%016X", n, uint64(p.Attributes)))
	}
	return args
}

// cgptArgs add one partition.
func cgptArgs(p partitions.Partition) []string {
	return []string{
		"add", "-i", fmt.Sprint(p.Number), "-b", fmt.Sprint(p.Start), "-s", fmt.Sprint(p.Size), "-t", p.Type.String(),
		"-u", p.UUID.String(), "-l", p.Label, "-A", fmt.Sprintf("%#x", uint64(p.Attributes)>>48),
	}
}

// sameTable compares both copies of a table.
func sameTable(t *testing.T, name string, want *powercut.Disk, got io.ReaderAt) {
	t.Helper()
	const size = 5 * 4096 // of a copy in the larger sectors
	for _, off := range []int64{512, want.Size() - size} {
		a, b := make([]byte, size), make([]byte, size)
		_, err := want.ReadAt(a, off)
		require.NoError(t, err)
		_, err = got.ReadAt(b, off)
		require.NoError(t, err)
		for i := 0; i < len(a); i += 128 {
			if !bytes.Equal(a[i:i+128], b[i:i+128]) {
				t.Fatalf("%s: differs at %d:\n%x\n%x", name, off+int64(i), a[i:i+128], b[i:i+128])
			}
		}
	}
}
