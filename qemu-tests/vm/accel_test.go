package vm_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/qemu-tests/vm"
)

func TestParseAccel(t *testing.T) {
	a, err := vm.ParseAccel("auto")
	require.NoError(t, err)
	assert.Equal(t, vm.Auto, a)
	_, err = vm.ParseAccel("xen")
	assert.EqualError(t, err, `accelerator "xen": want auto, tcg or kvm`)
}

func TestChooseTakesAWord(t *testing.T) {
	for _, want := range []vm.Accel{vm.TCG, vm.KVM} {
		got, why, err := (&vm.Probe{}).Choose(t.Context(), want)
		require.NoError(t, err)
		assert.Equal(t, want, got)
		assert.Equal(t, "as told", why)
	}
}

func TestChooseRemembers(t *testing.T) {
	if f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err != nil {
		p := &vm.Probe{Tools: noTools{}, Cache: t.TempDir()}
		got, why, err := p.Choose(t.Context(), vm.Auto)
		require.NoError(t, err)
		assert.Equal(t, vm.TCG, got)
		assert.Contains(t, why, "/dev/kvm")
		return
	} else {
		f.Close()
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	require.NoError(t, err)
	cache := t.TempDir()
	name := filepath.Join(cache, "kvm-"+strings.TrimSpace(string(boot)))
	require.NoError(t, os.WriteFile(name, []byte("tcg it hangs"), 0o600))
	got, why, err := (&vm.Probe{Cache: cache}).Choose(t.Context(), vm.Auto)
	require.NoError(t, err)
	assert.Equal(t, vm.TCG, got)
	assert.Equal(t, "it hangs", why)
}
