package cgpt_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/tools/toolstest"
	"slipway/partitions"
)

// original runs the real cgpt.
func original(t *testing.T, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := toolstest.Command(t, "cgpt", args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// Both programs say and do the same on hundreds of images, good, odd and
// damaged: output, errors, exit code, and every byte of the image. The
// exceptions are named in excused.
func TestLikeTheOriginal(t *testing.T) {
	toolstest.Command(t, "cgpt")
	path := inMemory(t)
	content := filepath.Join(filepath.Dir(path), "content")
	require.NoError(t, os.WriteFile(content, []byte("content"), 0o644))
	for seed := range uint64(300) {
		image, faults := generate(seed)
		require.NoError(t, os.WriteFile(path, image, 0o644))
		state := original(t, "show", path)
		for _, args := range commands(seed, content)[:10] {
			args = append(args, path)
			require.NoError(t, os.WriteFile(path, image, 0o644))
			want := original(t, args...)
			wantImage, err := os.ReadFile(path)
			require.NoError(t, err)

			require.NoError(t, os.WriteFile(path, image, 0o644))
			got := runDrawing(drawn(image, wantImage), args...)
			gotImage, err := os.ReadFile(path)
			require.NoError(t, err)

			name := fmt.Sprintf("image %d: cgpt %q", seed, args)
			if excused(t, name, args[0], faults, state, got, image, gotImage) {
				continue
			}
			if args[0] == "create" && got.code == 0 {
				// Ours writes the protective MBR as well, and -z zeroes the
				// entries as it says, where the original leaves them.
				copy(gotImage, wantImage[:512])
				if slices.Contains(args, "-z") {
					clear(wantImage[1024 : 1024+array*512])
					clear(wantImage[(sectors-1-array)*512:])
				}
			}
			if strings.Contains(want.out, "Usage:") {
				// Ours has CoreOS's options and type names as well.
				got.out = common(want.out, got.out)
			}
			require.Equal(t, want, got, name)
			if !bytes.Equal(wantImage, gotImage) {
				t.Fatalf("%s: images differ: %s", name, differences(wantImage, gotImage))
			}
		}
	}
}

// excused says whether a difference is meant to be, and checks it. Where the
// original finds no table, its repair does nothing and succeeds: ours mends
// the table so that the original likes it, or fails and writes nothing. Of two
// faults ours believes a copy that is complete, the original the primary
// header. Where the original finds damage, its legacy spreads it: see
// TestLegacy.
func excused(t *testing.T, name, command string, faults int, state, got result, before, after []byte) bool {
	switch {
	case strings.Contains(got.out, "Usage:"):
		return false
	case command == "repair" && got.code == 0 && (state.code != 0 || faults > 1):
		path := filepath.Join(t.TempDir(), "mended.img")
		require.NoError(t, os.WriteFile(path, after, 0o644))
		show := original(t, "show", path)
		require.Equal(t, 0, show.code, name)
		require.Empty(t, show.errs, name)
		return true
	case command == "repair" && state.code != 0:
		require.Contains(t, got.errs, "no partition table", name)
		require.Equal(t, before, after, name)
		return true
	}
	return command == "legacy" && state.errs != ""
}

// drawn is the UUID that the original made up: the disk's if that changed, or
// that of an entry.
func drawn(before, after []byte) uuid.UUID {
	if at := 512 + 56; !bytes.Equal(before[at:at+16], after[at:at+16]) {
		return partitions.DecodeGUID(after[at:])
	}
	for at := 1024 + 16; at < 1024+array*512; at += 128 {
		if !bytes.Equal(before[at:at+16], after[at:at+16]) {
			return partitions.DecodeGUID(after[at:])
		}
	}
	return uuid.UUID{}
}

// Usage texts and what comes of arguments that make no sense are those of the
// original, but for what ours has in addition.
func TestUsageLikeTheOriginal(t *testing.T) {
	for _, c := range []string{"create", "add", "show", "repair", "boot", "find", "edit", "prioritize", "legacy"} {
		for _, args := range [][]string{{c, "-h"}, {c, "-?"}, {c}, {c, "/nonexistent"}, {c, "-D"}, {c, "-D", "x", "/nonexistent"}} {
			want, got := original(t, args...), run(args...)
			assert.Equal(t, want.code, got.code, "%q", args)
			if c != "repair" || len(args) > 1 { // where the original fails an assertion
				assert.Equal(t, want.errs, got.errs, "%q", args)
			}
			assert.Equal(t, want.out, common(want.out, got.out), "%q", args)
		}
	}
	for _, args := range [][]string{{}, {"-h"}, {"nothing"}, {"e"}, {"fi"}, {"pri"}, {""}, {"sho", "/nonexistent"}} {
		want, got := original(t, args...), run(args...)
		assert.Equal(t, want.code, got.code, "%q", args)
		assert.Equal(t, want.errs, got.errs, "%q", args)
		assert.Equal(t, want.out, common(want.out, got.out), "%q", args)
	}
}

// common is got without the lines that want has not.
func common(want, got string) string {
	var b strings.Builder
	lines := strings.SplitAfter(want, "\n")
	for line := range strings.Lines(got) {
		if len(lines) > 0 && line == lines[0] {
			b.WriteString(line)
			lines = lines[1:]
		}
	}
	return b.String()
}

// differences tells where two images differ, by sectors.
func differences(a, b []byte) (text string) {
	for i := 0; i < len(a); i += 512 {
		if !bytes.Equal(a[i:i+512], b[i:i+512]) {
			text += fmt.Sprintf("\nsector %d", i/512)
			for j := i; j < i+512; j += 32 {
				if !bytes.Equal(a[j:j+32], b[j:j+32]) {
					text += fmt.Sprintf("\n%3d %x\n    %x", j-i, a[j:j+32], b[j:j+32])
				}
			}
		}
	}
	return text
}
