package channel_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/channel"
)

func TestChange(t *testing.T) {
	for name, tt := range map[string]struct{ before, want string }{
		"no file":       {"", "GROUP=beta\n"},
		"other lines":   {"# mine\nREBOOT_STRATEGY=off", "# mine\nREBOOT_STRATEGY=off\nGROUP=beta\n"},
		"another":       {"GROUP=alpha\nSERVER=http://[::1]/\n", "GROUP=beta\nSERVER=http://[::1]/\n"},
		"the last wins": {"GROUP=alpha\n GROUP = stable\n", "GROUP=alpha\nGROUP=beta\n"},
		"a comment":     {"#GROUP=alpha\n", "#GROUP=alpha\nGROUP=beta\n"},
	} {
		t.Run(name, func(t *testing.T) {
			e := channel.Env{Name: "channel", Root: t.TempDir(), Stdout: new(bytes.Buffer), Stderr: new(bytes.Buffer)}
			path := filepath.Join(e.Root, "etc/coreos/update.conf")
			if tt.before != "" {
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
				require.NoError(t, os.WriteFile(path, []byte(tt.before), 0o600))
			}
			require.Zero(t, channel.Main([]string{"beta"}, e))
			got, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, tt.want, string(got))

			require.Zero(t, channel.Main(nil, e))
			assert.Equal(t, "beta\n", e.Stdout.(*bytes.Buffer).String())
		})
	}
}

func TestRefuses(t *testing.T) {
	for _, args := range [][]string{{"a", "b"}, {"--help"}, {"a b"}, {""}, {"../x"}, {"x\nSERVER=y"}} {
		e := channel.Env{Name: "channel", Root: t.TempDir(), Stdout: new(bytes.Buffer), Stderr: new(bytes.Buffer)}
		assert.Equal(t, 2, channel.Main(args, e), "%q", args)
		assert.NotEmpty(t, e.Stderr.(*bytes.Buffer).String())
		assert.NoFileExists(t, filepath.Join(e.Root, "etc/coreos/update.conf"))
	}
}
