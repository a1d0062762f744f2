package cgpt_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"slipway/build/tools/toolstest"
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
	path := filepath.Join(t.TempDir(), "disk.img")
	content := filepath.Join(filepath.Dir(path), "content")
	require.NoError(t, os.WriteFile(content, []byte("content"), 0o644))
	for seed := range uint64(300) {
		image, faults := generate(seed)
		require.NoError(t, os.WriteFile(path, image, 0o644))
		state := original(t, "show", path)
		for _, args := range commands(seed, content) {
			args = append(args, path)
			require.NoError(t, os.WriteFile(path, image, 0o644))
			want := original(t, args...)
			wantImage, err := os.ReadFile(path)
			require.NoError(t, err)

			require.NoError(t, os.WriteFile(path, image, 0o644))
			got := run(args...)
			gotImage, err := os.ReadFile(path)
			require.NoError(t, err)

			name := fmt.Sprintf("image %d: cgpt %q", seed, args)
			if excused(t, name, args[0], faults, state, got, image, gotImage) {
				continue
			}
			if strings.Contains(want.out, "one of these aliases") {
				// Our list goes on with CoreOS's names.
				require.Contains(t, got.out, strings.TrimRight(want.out, "\n"), name)
				got.out = want.out
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

// differences tells where two images differ, by sectors.
func differences(a, b []byte) (text string) {
	for i := 0; i < len(a); i += 512 {
		if !bytes.Equal(a[i:i+512], b[i:i+512]) {
			text += fmt.Sprintf("sector %d\n%x\n%x\n", i/512, a[i:i+512], b[i:i+512])
		}
	}
	return text
}
