package finish_test

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/finish"
	"slipway/build/tools/toolstest"
	"slipway/build/tree"
)

// module is an ELF file with nothing but a .modinfo section, as far as we read
// kernel modules.
func module(t *testing.T, modinfo string) string {
	t.Helper()
	names := "\x00.modinfo\x00.shstrtab\x00"
	const headerSize, sectionSize = 64, 64
	data := uint64(headerSize)
	text := data + uint64(len(modinfo))
	table := text + uint64(len(names))
	var b bytes.Buffer
	ident := [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1}
	for _, part := range []any{
		elf.Header64{
			Ident: ident, Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: 1,
			Shoff: table, Ehsize: headerSize, Shentsize: sectionSize, Shnum: 3, Shstrndx: 2,
		},
		[]byte(modinfo), []byte(names),
		elf.Section64{},
		elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: data, Size: uint64(len(modinfo))},
		elf.Section64{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: text, Size: uint64(len(names))},
	} {
		require.NoError(t, binary.Write(&b, binary.LittleEndian, part))
	}
	return b.String()
}

func TestCheck(t *testing.T) {
	in := files(t,
		"usr/bin/good: #!/bin/sh -e\n", "usr/bin/sh: x", "usr/bin/env-good: #!/usr/bin/env sh\n",
		"usr/bin/bad: #! /usr/bin/perl -w\n", "usr/bin/perl: x", "usr/bin/worse: #!/usr/bin/env ruby\n",
		"usr/share/example: #!/usr/bin/python\n", "usr/bin/empty: #!\n", "usr/bin/junk: \x7fELFjunk",
		"usr/lib/modules/1/modules.builtin: kernel/net/core-net.ko\n",
		"usr/lib/modules/1/kernel/x.ko: "+module(t, "license=GPL\x00depends=b-c,core_net\x00"),
		"usr/lib/modules/1/kernel/b_c.ko: "+module(t, "depends=d\x00"),
		"usr/lib/modules/1/kernel/old/d.ko: "+module(t, "depends=\x00"),
		"boot/vmlinuz-1: k",
	)
	for p, n := range in.All() {
		if n.Type == tree.File && p != "usr/share/example" {
			n.Mode = 0o755
		}
	}
	c := config(t, "remove: [usr/bin/perl, 'usr/lib/modules/*/kernel/old']")
	result, err := finish.Run(context.Background(), options(t, in, c))
	require.NoError(t, err)
	assert.Equal(t, []string{
		`/usr/bin/bad needs usr/bin/perl, which overlay base removes with "usr/bin/perl"`,
		"/usr/bin/worse needs usr/bin/ruby, which nothing brings",
		`/usr/lib/modules/1/kernel/b_c.ko needs d.ko, which overlay base removes with ` +
			`"usr/lib/modules/*/kernel/old"`,
	}, result.Problems)
}

// A real program misses its libraries, and does not once they are there.
func TestJudgeCheckLibraries(t *testing.T) {
	program, err := os.ReadFile(toolstest.Path(t, "build", "usr/bin/systemd-hwdb"))
	require.NoError(t, err)
	problems := func(libraries ...string) []string {
		in := files(t, append(libraries, "usr/bin/systemd-hwdb: "+string(program))...)
		result, err := finish.Run(context.Background(), options(t, in, config(t, "{}")))
		require.NoError(t, err)
		return result.Problems
	}
	assert.Contains(t, problems(), "/usr/bin/systemd-hwdb needs libc.so.6, which nothing brings")
	assert.NotContains(t, problems("usr/lib/x86_64-linux-gnu/libc.so.6: x"),
		"/usr/bin/systemd-hwdb needs libc.so.6, which nothing brings")
}
