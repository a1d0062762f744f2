package overlays_test

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/overlays"
)

// Files on ROOT belong to numbers and outlive every update: a line of this
// list may be added, never changed.
func TestIDsAreForEver(t *testing.T) {
	here := os.DirFS(".")
	channel, err := overlays.LoadChannel(here, "alpha")
	require.NoError(t, err)
	layers, err := overlays.LoadLayers(here, channel)
	require.NoError(t, err)
	config, err := overlays.Merge(channel, layers...)
	require.NoError(t, err)
	var got []string
	for _, u := range config.Users {
		got = append(got, fmt.Sprintf("%d user %s", *u.UID, u.Name))
	}
	for _, g := range config.Groups {
		got = append(got, fmt.Sprintf("%d group %s", *g.GID, g.Name))
	}
	slices.Sort(got)
	assert.Equal(t, []string{
		"201 group messagebus", "201 user messagebus",
		"202 group input",
		"203 group sgx",
		"204 group clock",
		"205 group kvm",
		"206 group render",
		"207 group _ssh",
		"208 user sshd",
		"231 group fleet",
		"232 group etcd", "232 user etcd",
		"233 group docker",
		"244 group systemd-network", "244 user systemd-network",
		"245 group systemd-resolve", "245 user systemd-resolve",
		"246 group systemd-timesync", "246 user systemd-timesync",
		"248 group systemd-journal",
		"500 group core", "500 user core",
	}, got)
}
