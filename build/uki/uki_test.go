package uki_test

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/uki"
)

// stub makes a PE file with the shape of systemd's: six sections would be
// more of the same, one does.
func stub(change func(b []byte)) []byte {
	const headers, text, optional = 0x400, 0x600, 0x58
	b := make([]byte, headers+text)
	copy(b, "MZ")
	binary.LittleEndian.PutUint32(b[0x3c:], 0x40)
	copy(b[0x40:], "PE\x00\x00")
	coff, opt, section := b[0x44:], b[optional:], b[optional+160:]
	binary.LittleEndian.PutUint16(coff, pe.IMAGE_FILE_MACHINE_AMD64)
	binary.LittleEndian.PutUint16(coff[2:], 1)
	binary.LittleEndian.PutUint16(coff[16:], 160) // six directories
	binary.LittleEndian.PutUint16(opt, 0x20b)
	binary.LittleEndian.PutUint32(opt[32:], 4096)
	binary.LittleEndian.PutUint32(opt[36:], 512)
	binary.LittleEndian.PutUint32(opt[60:], headers)
	binary.LittleEndian.PutUint32(opt[108:], 6)
	copy(section, ".text")
	binary.LittleEndian.PutUint32(section[8:], text-7)
	binary.LittleEndian.PutUint32(section[12:], 4096)
	binary.LittleEndian.PutUint32(section[16:], text)
	binary.LittleEndian.PutUint32(section[20:], headers)
	if change != nil {
		change(b)
	}
	return b
}

func reader(s string) *io.SectionReader {
	return io.NewSectionReader(strings.NewReader(s), 0, int64(len(s)))
}

func options() *uki.Options {
	return &uki.Options{
		Stub:        stub(nil),
		OSRelease:   "ID=slipway\nVERSION_ID=4000.0.0\n",
		CommandLine: "console=ttyS0 panic=-1 a=$b",
		Uname:       "6.12.0",
		Linux:       reader(strings.Repeat("K", 1000)),
		Initrd:      reader(strings.Repeat("I", 3*512)),
	}
}

func write(t testing.TB, o *uki.Options) []byte {
	var b bytes.Buffer
	require.NoError(t, uki.Write(&b, o))
	return b.Bytes()
}

func TestWriteLaysSectionsOut(t *testing.T) {
	data := write(t, options())
	file, err := pe.NewFile(bytes.NewReader(data))
	require.NoError(t, err)
	var got strings.Builder
	for _, s := range file.Sections {
		fmt.Fprintf(&got, "%-8s file %#x+%#x memory %#x+%#x\n",
			s.Name, s.Offset, s.Size, s.VirtualAddress, s.VirtualSize)
	}
	assert.Equal(t, `.text    file 0x400+0x600 memory 0x1000+0x5f9
.osrel   file 0xa00+0x200 memory 0x2000+0x1f
.cmdline file 0xc00+0x200 memory 0x3000+0x1b
.uname   file 0xe00+0x3f200 memory 0x4000+0x6
.grub    file 0x40000+0x1000 memory 0x5000+0x1000
.linux   file 0x41000+0x400 memory 0x6000+0x3e8
.initrd  file 0x41400+0x600 memory 0x7000+0x600
`, got.String())
	assert.Len(t, data, 0x41a00)
	header := file.OptionalHeader.(*pe.OptionalHeader64)
	assert.Equal(t, uint32(0x8000), header.SizeOfImage)
	assert.Equal(t, uint32(len(data)-0xa00), header.SizeOfInitializedData)
}

func TestWriteIsDeterministic(t *testing.T) {
	assert.Equal(t, write(t, options()), write(t, options()))
}

func TestGRUBSectionNamesTheBlocks(t *testing.T) {
	data := write(t, options())
	script := string(data[uki.GRUBOffset : uki.GRUBOffset+uki.GRUBSize])
	assert.Equal(t, "linux (uki)520+2 'console=ttyS0' 'panic=-1' 'a=$b' $slipway\ninitrd (uki)522+3\n",
		strings.TrimRight(script, "\n")+"\n")
	assert.Equal(t, strings.Repeat("K", 1000)+strings.Repeat("\x00", 24), string(data[520*512:522*512]))
	assert.Equal(t, strings.Repeat("I", 3*512), string(data[522*512:525*512]))
}

func TestReadGivesBackWhatWasWritten(t *testing.T) {
	data := write(t, options())
	image, err := uki.Read(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	for name, want := range map[string]string{
		".osrel":   "ID=slipway\nVERSION_ID=4000.0.0",
		".cmdline": "console=ttyS0 panic=-1 a=$b",
		".uname":   "6.12.0",
		".linux":   strings.Repeat("K", 1000),
		".initrd":  strings.Repeat("I", 3*512),
	} {
		section, err := image.Section(name)
		require.NoError(t, err)
		got, err := section.Text()
		require.NoError(t, err)
		assert.Equal(t, want, got, name)
	}
	_, err = image.Section(".dtb")
	assert.EqualError(t, err, "UKI: no section .dtb")
}

func TestWriteErrors(t *testing.T) {
	tests := []struct {
		name    string
		change  func(o *uki.Options)
		wantErr string
	}{
		{"no kernel", func(o *uki.Options) { o.Linux = nil },
			"UKI: kernel and initramfs are both needed"},
		{"empty kernel", func(o *uki.Options) { o.Linux = reader("") },
			"UKI: section .linux: has no content"},
		{"short kernel", func(o *uki.Options) {
			o.Linux = io.NewSectionReader(strings.NewReader("KK"), 0, 5)
		}, "UKI: section .linux: want 5 bytes, the source ends after 2"},
		{"huge kernel", func(o *uki.Options) {
			o.Linux = io.NewSectionReader(strings.NewReader(""), 0, 1<<32)
		}, "UKI: section .linux: 4294967296 bytes do not fit below 4 GiB"},
		{"no uname", func(o *uki.Options) { o.Uname = "" },
			"UKI: section .uname: has no content"},
		{"quoted argument", func(o *uki.Options) { o.CommandLine = `dyndbg="file x +p"` },
			`UKI: command line: '"' cannot be passed on by GRUB`},
		{"long command line", func(o *uki.Options) { o.CommandLine = strings.Repeat("a", 4096) },
			"UKI: section .grub: 4143 bytes of commands, it holds 4096 (command line too long)"},
		{"large stub", func(o *uki.Options) { o.Stub = append(o.Stub, make([]byte, uki.GRUBOffset)...) },
			"UKI: stub and texts: 266240 bytes, at most 262144 fit before section .grub"},
		{"signed stub", func(o *uki.Options) {
			o.Stub = stub(func(b []byte) { b[0x58+112+4*8+4] = 8 })
		}, "UKI: stub: is signed, which adding sections would break"},
		{"no header room", func(o *uki.Options) {
			o.Stub = stub(func(b []byte) { binary.LittleEndian.PutUint32(b[0x58+60:], 0x200) })
		}, "UKI: stub: 512 bytes of headers have no room for 6 more sections"},
		{"alignment", func(o *uki.Options) {
			o.Stub = stub(func(b []byte) { binary.LittleEndian.PutUint32(b[0x58+36:], 16) })
		}, "UKI: stub: 1 sections, alignment 4096 in memory and 16 in the file (want 512)"},
		{"not PE", func(o *uki.Options) { o.Stub = make([]byte, 512) },
			"UKI: stub: not a PE file: no MZ at the start"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := options()
			test.change(o)
			assert.EqualError(t, uki.Write(io.Discard, o), test.wantErr)
		})
	}
}

func TestReadErrors(t *testing.T) {
	tests := []struct {
		name    string
		change  func(b []byte)
		size    int
		wantErr string
	}{
		{"empty", nil, 0, "UKI: not a PE file: ends inside the headers, 64 bytes wanted at 0"},
		{"cut in the table", nil, 0xf8, "UKI: not a PE file: ends inside the headers, 288 bytes wanted at 0"},
		{"cut in a section", nil, 0x9ff, `UKI: section ".text": ends at byte 2560, the file at 2559`},
		{"header far away", func(b []byte) { b[0x3e] = 2 }, -1,
			"UKI: PE header: offset 131136 is beyond 65536"},
		{"no signature", func(b []byte) { b[0x40] = 'X' }, -1,
			"UKI: not a PE file: no PE signature at 64"},
		{"machine", func(b []byte) { b[0x44] = 0x4c }, -1,
			"UKI: PE header: machine is 0x864c, want 0x8664 or 0xaa64"},
		{"sections", func(b []byte) { b[0x47] = 1 }, -1,
			"UKI: PE header: 257 sections, at most 96 are read"},
		{"optional header", func(b []byte) { b[0x54] = 8 }, -1,
			"UKI: PE header: optional header is 8 bytes, want 112 or more"},
		{"32 bit", func(b []byte) { b[0x59] = 1 }, -1,
			"UKI: PE header: optional header has magic 0x10b, want 0x20b"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			data := stub(test.change)
			if test.size >= 0 {
				data = data[:test.size]
			}
			_, err := uki.Read(bytes.NewReader(data), int64(len(data)))
			assert.EqualError(t, err, test.wantErr)
		})
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("MZ"))
	f.Add(stub(nil))
	f.Add(write(f, options())[:0x400])
	f.Fuzz(func(t *testing.T, data []byte) {
		image, err := uki.Read(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		for _, s := range image.Sections {
			n, err := io.Copy(io.Discard, s.Open())
			require.NoError(t, err)
			require.Equal(t, s.Size, n)
		}
	})
}
