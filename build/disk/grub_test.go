package disk_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/disk"
	"slipway/partitions"
)

// fakeGRUB is a tools tree whose grub-mkimage is this test program.
type fakeGRUB struct{ dir, behave string }

func (f fakeGRUB) Path(rel string) string { return filepath.Join(f.dir, rel) }

func (f fakeGRUB) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), "FAKE_GRUB="+f.behave)
	return cmd
}

func TestMain(m *testing.M) {
	switch os.Getenv("FAKE_GRUB") {
	case "":
		os.Exit(m.Run())
	case "complain":
		fmt.Fprintln(os.Stderr, "grub-mkimage: error: no such module.")
		os.Exit(1)
	case "copy": // the configuration becomes the core image
		var config, output string
		for _, arg := range os.Args[1:] {
			if v, ok := strings.CutPrefix(arg, "--config="); ok {
				config = v
			}
			if v, ok := strings.CutPrefix(arg, "--output="); ok {
				output = v
			}
		}
		text, err := os.ReadFile(config)
		if err != nil {
			panic(err)
		}
		if err := os.WriteFile(output, text, 0o600); err != nil {
			panic(err)
		}
	}
}

func fakeTree(t *testing.T, behave string) fakeGRUB {
	f := fakeGRUB{t.TempDir(), behave}
	require.NoError(t, os.MkdirAll(f.Path("usr/lib/grub/i386-pc"), 0o755))
	require.NoError(t, os.WriteFile(f.Path("usr/lib/grub/i386-pc/boot.img"), []byte("boot"), 0o600))
	return f
}

func esp() partitions.Partition {
	p, _ := layout().Partition(disk.LabelESP)
	return p
}

func TestLoadGRUB(t *testing.T) {
	g, err := disk.LoadGRUB(t.Context(), fakeTree(t, "copy"), layout())
	require.NoError(t, err)
	assert.Equal(t, &disk.GRUB{Boot: []byte("boot"), Core: []byte(disk.GRUBConfig(esp()))}, g)
}

func TestLoadGRUBErrors(t *testing.T) {
	_, err := disk.LoadGRUB(t.Context(), fakeTree(t, "complain"), layout())
	assert.EqualError(t, err, "grub-mkimage: exit status 1: grub-mkimage: error: no such module.")
	_, err = disk.LoadGRUB(t.Context(), fakeGRUB{t.TempDir(), ""}, layout())
	assert.ErrorContains(t, err, "GRUB: open ")
	assert.ErrorIs(t, err, os.ErrNotExist)
	_, err = disk.LoadGRUB(t.Context(), fakeTree(t, "copy"), partitions.Layout{})
	assert.EqualError(t, err, `GRUB: the layout has no partition "EFI-SYSTEM"`)
}

// TestGRUBConfigFitsTheScreen keeps what people read within a line of 80
// characters: GRUB wraps longer ones in the middle of a word.
func TestGRUBConfigFitsTheScreen(t *testing.T) {
	for line := range strings.Lines(disk.GRUBConfig(esp())) {
		if said, ok := strings.CutPrefix(line, "echo "); ok {
			assert.Less(t, len(strings.Trim(said, "\"\n")), 80)
		}
	}
}

func TestGRUBCommandLine(t *testing.T) {
	assert.Equal(t, "--format=i386-pc --directory=D --prefix=()/ --config=C --output=O "+
		"biosdisk part_gpt fat loopback linux normal configfile probe serial terminal echo sleep reboot",
		strings.Join(disk.GRUBMkimageArgs("D", "C", "O"), " "))
	assert.Contains(t, disk.GRUBConfig(esp()), "probe --set=slipway_esp --part-uuid $root,gpt1\n"+
		"set slipway=slipway.esp=$slipway_esp\n"+
		"loopback uki ($root,gpt1)/EFI/BOOT/BOOTX64.EFI\nsource (uki)512+8\nboot\n")
	assert.Contains(t, disk.GRUBConfig(esp()), "loopback esp ($root)4096+262144\n"+
		"loopback uki (esp)/EFI/BOOT/BOOTX64.EFI\nsource (uki)512+8\nboot\n")
}
