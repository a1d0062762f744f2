package toolstest_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/tools"
	"slipway/build/tools/toolstest"
)

// TestEveryProgram starts every program that a group promises. What it prints
// does not matter; that the loader finds all libraries does.
func TestEveryProgram(t *testing.T) {
	for _, g := range tools.Groups() {
		for _, program := range g.Programs {
			t.Run(g.Name+"/"+program, func(t *testing.T) {
				t.Parallel()
				cmd := toolstest.Tree(t, g.Name).Command(t.Context(), program, "--version")
				out, err := cmd.CombinedOutput()
				if _, exited := err.(*exec.ExitError); !exited {
					require.NoError(t, err)
				}
				assert.NotContains(t, string(out), "error while loading shared libraries")
				assert.NotContains(t, string(out), "cannot open shared object")
				assert.NotEqual(t, 127, cmd.ProcessState.ExitCode(), "%s", out)
				t.Logf("%.80q", out)
			})
		}
	}
}

// TestOwnLibraries has the loader list what each program loads: all of it must
// come from the tree, or hosts would differ.
func TestOwnLibraries(t *testing.T) {
	for _, g := range tools.Groups() {
		tree := toolstest.Tree(t, g.Name)
		root := tree.Path("")
		for _, program := range g.Programs {
			cmd := tree.Command(t.Context(), program)
			require.NoError(t, cmd.Err)
			if len(cmd.Args) == 1 {
				continue // static
			}
			cmd.Env = append(cmd.Env, "LD_TRACE_LOADED_OBJECTS=1")
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s: %s", program, out)
			assert.Contains(t, string(out), "libc.so.6 => "+root, program)
			for line := range strings.Lines(string(out)) {
				name, path, found := strings.Cut(strings.TrimSpace(line), " => ")
				if found {
					assert.True(t, strings.HasPrefix(path, root+"/"), "%s: %s is %s", program, name, path)
				}
			}
		}
	}
}

func TestCommand(t *testing.T) {
	out, err := toolstest.Command(t, "qemu-system-x86_64", "--version").Output()
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(string(out), "QEMU emulator version"), "%s", out)

	// dpkg-deb finds tar in $PATH.
	deb := toolstest.Deb(t, "build", "libc-bin")
	out, err = toolstest.Command(t, "dpkg-deb", "--contents", deb.Name()).Output()
	require.NoError(t, err)
	assert.Contains(t, string(out), "./usr/sbin/ldconfig")

	assert.FileExists(t, toolstest.Path(t, "run", "usr/share/OVMF/OVMF_CODE_4M.fd"))
	assert.FileExists(t, toolstest.Path(t, "build", "usr/lib/systemd/boot/efi/linuxx64.efi.stub"))
	assert.FileExists(t, toolstest.Path(t, "build", "usr/lib/grub/i386-pc/boot.img"))
}
