package powercut_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/tools/toolstest"
	"slipway/qemu-tests/powercut"
)

// logOf makes a log as blklogwrites does: super block, entries, data.
type logOf struct {
	bytes.Buffer
	entries int
}

func (l *logOf) entry(sector, sectors, flags int64, data []byte) {
	b := make([]byte, 512)
	for i, n := range []int64{sector, sectors, flags, int64(len(data))} {
		binary.LittleEndian.PutUint64(b[8*i:], uint64(n))
	}
	if flags&8 != 0 {
		copy(b[32:], data)
		data = nil
	}
	l.Write(b)
	l.Write(data)
	l.entries++
}

func (l *logOf) log() []byte {
	super := make([]byte, 512)
	le := binary.LittleEndian
	le.PutUint64(super[0:], 0x6a736677736872)
	le.PutUint64(super[8:], 1)
	le.PutUint64(super[16:], uint64(l.entries))
	le.PutUint32(super[24:], 512)
	return append(super, l.Bytes()...)
}

func sample() []byte {
	var l logOf
	l.entry(0, 0, 8, []byte("boot"))
	l.entry(1, 2, 0, append(sector('a'), sector('b')...))
	l.entry(0, 0, 1, nil)
	l.entry(3, 1, 2, sector('c'))
	l.entry(1, 1, 4, nil)
	l.entry(0, 1, 1|16, sector('d'))
	return l.log()
}

func TestReadLog(t *testing.T) {
	log := sample()
	ops, err := powercut.ReadLog(bytes.NewReader(log), int64(len(log)))
	require.NoError(t, err)
	assert.Equal(t, `[mark "boot" write 512+1024 sync write through 1536+512 discard 512+512 sync write 0+512]`, fmt.Sprint(ops))
	image, err := powercut.Replay(bytes.NewReader(bytes.Repeat([]byte("z"), 3000)), 6*512, ops)
	require.NoError(t, err)
	b := make([]byte, 512)
	var text []byte
	for lba := range int64(6) {
		_, err := image.ReadAt(b, lba*512)
		require.NoError(t, err)
		text = append(text, max(b[0], '.'))
	}
	assert.Equal(t, "d.bczz", string(text))
	assert.Equal(t, byte(0), b[511], "past the end of what is below")

	got := map[string]bool{}
	for s := range powercut.States(powercut.New(4*512), ops, powercut.Options{}) {
		got[show(t, s, 4)] = true
	}
	assert.Contains(t, got, "..b.")
	assert.NotContains(t, got, "..bd", "what was written through is there before what is written later")
	assert.NotContains(t, got, "d.b.")

	_, err = powercut.Replay(bytes.NewReader(nil), 3*512, ops)
	assert.EqualError(t, err, "replay write through 1536+512: disk is 1536 bytes")
}

func TestReadLogErrors(t *testing.T) {
	put := func(at int, n uint64) func([]byte) []byte {
		return func(b []byte) []byte { binary.LittleEndian.PutUint64(b[at:], n); return b }
	}
	second := 512 + 512 // the entry after the mark
	for want, change := range map[string]func([]byte) []byte{
		"write log: super block: unexpected EOF":                                 func(b []byte) []byte { return b[:20] },
		"write log: magic number is 0x1, want 0x6a736677736872":                  put(0, 1),
		"write log: version is 2, want 1":                                        put(8, 2),
		"write log: sectors of 513 bytes":                                        put(24, 513),
		"write log: 10000 entries in 5632 bytes":                                 put(16, 10000),
		"write log: entry 6 at 5632: unexpected EOF":                             put(16, 7),
		"write log: entry 1 at 1024: flags are 0x20":                             put(second+16, 32),
		"write log: entry 1 at 1024: 2 sectors from sector 72057594037927935 on": put(second, 1<<56-1),
		"write log: entry 1 at 1024: neither a write nor a flush":                put(second+8, 0),
		"write log: entry 1 at 1024: 1048576 bytes of data: unexpected EOF":      put(second+8, 2048),
		"write log: entry 0 at 512: mark of 481 bytes":                           put(512+24, 481),
	} {
		log := change(sample())
		_, err := powercut.ReadLog(bytes.NewReader(log), int64(len(log)))
		assert.EqualError(t, err, want)
	}
}

// What the real driver logs of a few writes is replayed into what they left.
func TestReadLogOfQEMU(t *testing.T) {
	dir := t.TempDir()
	disk, log := filepath.Join(dir, "disk"), filepath.Join(dir, "log")
	start := bytes.Repeat([]byte("start..."), 1<<17)
	require.NoError(t, os.WriteFile(disk, start, 0o600))
	require.NoError(t, os.WriteFile(log, nil, 0o600))
	args := []string{"--image-opts", "driver=blklogwrites,log-sector-size=512,file.driver=file,file.filename=" + disk +
		",log.driver=file,log.filename=" + log}
	for _, c := range []string{
		"write -q -P 0x11 4096 8192", "flush", "write -q -z 65536 4096", "discard -q 131072 65536", "write -q -f -P 0x22 6144 512",
		"write -q -P 0x33 512 1024", "flush",
	} {
		args = append(args, "-c", c)
	}
	out, err := toolstest.Command(t, "qemu-io", args...).CombinedOutput()
	require.NoError(t, err, string(out))

	f, err := os.Open(log)
	require.NoError(t, err)
	defer f.Close()
	info, err := f.Stat()
	require.NoError(t, err)
	ops, err := powercut.ReadLog(f, info.Size())
	require.NoError(t, err)
	t.Log(ops)
	image, err := powercut.Replay(bytes.NewReader(start), 1<<20, ops)
	require.NoError(t, err)
	replayed, err := os.Create(filepath.Join(dir, "replayed"))
	require.NoError(t, err)
	defer replayed.Close()
	require.NoError(t, image.WriteFile(replayed))

	want, err := os.ReadFile(disk)
	require.NoError(t, err)
	clear(want[131072:196608]) // QEMU may leave what was discarded as it was
	got, err := os.ReadFile(replayed.Name())
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))
	read := make([]byte, 1<<20)
	_, err = image.ReadAt(read, 0)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, read))
}

func TestCutsOfALongRecording(t *testing.T) {
	rec := powercut.Record(powercut.New(64 * 512))
	for i := range int64(4) {
		write(t, rec, 8*i, 'a'+byte(4*i), 'b'+byte(4*i), 'c'+byte(4*i))
		write(t, rec, 8*i+4, 'd'+byte(4*i))
		require.NoError(t, rec.Sync())
	}
	write(t, rec, 40, 'x')
	ops := rec.Operations()
	var texts []string
	for c := range powercut.Cuts(ops, powercut.CutOptions{Seed: 1, Count: 9, At: powercut.Touches(8*512, 512)}) {
		image, err := powercut.Replay(bytes.NewReader(nil), 16*512, beginning(c.Operations, 16*512))
		require.NoError(t, err)
		texts = append(texts, show(t, image, 16)[8:]+" "+c.Text)
	}
	assert.Equal(t, []string{
		"efg..... operation 3 of 13, up to write 4096+1536",
		"........ operation 3 of 13, before write 4096+1536",
		"e....... operation 3 of 13, torn after 512 bytes: write 4096+1536",
		"efg..... operation 3 of 13, since the last sync only write 4096+1536",
		"....h... operation 3 of 13, up to the next sync without write 4096+1536",
		"efg..... operation 3 of 13, a selection since the last sync with write 4096+1536",
	}, texts)
	n := 0
	for range powercut.Cuts(ops, powercut.CutOptions{Count: 5}) {
		n++
	}
	assert.Equal(t, 5, n)
}

// A disk is written into a file with its holes, over files and in memory.
func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	base, err := os.Create(filepath.Join(dir, "base"))
	require.NoError(t, err)
	defer base.Close()
	require.NoError(t, base.Truncate(64<<20))
	_, err = base.WriteAt(bytes.Repeat([]byte("b"), 5000), 33<<20+100)
	require.NoError(t, err)
	below := powercut.Over(base, 48<<20)
	write(t, below, 7, 'x')
	write(t, below, 40<<11, 'y') // at 40 MiB: not in the file below
	disk := powercut.Over(below, 80<<20)
	write(t, disk, 8, 'z')
	rec := powercut.Record(disk)
	write(t, rec, 70<<11, 'o')
	write(t, rec, 33<<11, 'p')

	image, err := powercut.Replay(disk, disk.Size(), rec.Operations())
	require.NoError(t, err)
	assert.EqualValues(t, 80<<20, image.Size())
	file, err := os.Create(filepath.Join(dir, "file"))
	require.NoError(t, err)
	defer file.Close()
	require.NoError(t, image.WriteFile(file))
	want, got, direct := make([]byte, 80<<20), make([]byte, 80<<20), make([]byte, 80<<20)
	_, err = rec.ReadAt(want, 0)
	require.NoError(t, err)
	_, err = file.ReadAt(got, 0)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(want, got))
	_, err = image.ReadAt(direct, 0)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(want, direct))
	info, err := file.Stat()
	require.NoError(t, err)
	assert.Less(t, info.Sys().(*syscall.Stat_t).Blocks*512, int64(2<<20), "it is sparse")
	n, err := image.ReadAt(got[:1000], 80<<20-10)
	assert.Equal(t, 10, n)
	assert.Equal(t, io.EOF, err)
}

// beginning leaves out what is past the end of a disk.
func beginning(ops []powercut.Operation, size int64) []powercut.Operation {
	return slices.DeleteFunc(slices.Clone(ops), func(o powercut.Operation) bool { return o.Offset >= size })
}

func FuzzReadLog(f *testing.F) {
	f.Add(sample())
	f.Add(sample()[:600])
	f.Fuzz(func(t *testing.T, log []byte) {
		ops, err := powercut.ReadLog(bytes.NewReader(log), int64(len(log)))
		if err != nil {
			return
		}
		require.LessOrEqual(t, len(ops), 2*len(log)/512)
		for _, op := range ops {
			require.GreaterOrEqual(t, op.Offset, int64(0))
			require.GreaterOrEqual(t, op.Offset+op.Size, op.Offset)
		}
		image, err := powercut.Replay(bytes.NewReader(nil), 1<<20, ops)
		if err != nil {
			return
		}
		_, err = image.ReadAt(make([]byte, 4096), 1000)
		require.NoError(t, err)
	})
}
