package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// ParseAccel reads the word a user gives.
func ParseAccel(s string) (Accel, error) {
	switch a := Accel(s); a {
	case Auto, TCG, KVM:
		return a, nil
	}
	return "", fmt.Errorf("accelerator %q: want %s, %s or %s", s, Auto, TCG, KVM)
}

// Probe is what it takes to find out whether KVM works.
type Probe struct {
	Tools  Tools
	Kernel string        // file with a kernel that has a serial console
	Cache  string        // directory that remembers the answer until the host restarts
	Limit  time.Duration // for that kernel to start, 20 s unless set
}

// Choose turns Auto into KVM or TCG and says why. A /dev/kvm that opens and
// then hangs or kills every guest exists, so KVM is taken only after a kernel
// has started with it. KVM and TCG stay as they are.
func (p *Probe) Choose(ctx context.Context, a Accel) (chosen Accel, why string, err error) {
	if a != Auto {
		return a, "as told", nil
	}
	device, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return TCG, err.Error(), nil
	}
	if err := device.Close(); err != nil {
		return "", "", err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", "", err
	}
	name := filepath.Join(p.Cache, "kvm-"+strings.TrimSpace(string(boot)))
	if known, err := os.ReadFile(name); err == nil {
		chosen, why, _ := strings.Cut(string(known), " ")
		return Accel(chosen), why, nil
	}
	chosen, why = KVM, "a kernel starts with it"
	if err := p.boot(ctx); err != nil {
		if ctx.Err() != nil {
			return "", "", ctx.Err()
		}
		first, _, _ := strings.Cut(err.Error(), "\n")
		chosen, why = TCG, "/dev/kvm does not run a kernel: "+first
	}
	err = errors.Join(os.MkdirAll(p.Cache, 0o755), os.WriteFile(name, []byte(string(chosen)+" "+why), 0o644))
	return chosen, why, err
}

var noRoot = regexp.MustCompile(`Kernel panic - not syncing: VFS`)

// boot starts the kernel with KVM until it finds that there is no root.
func (p *Probe) boot(ctx context.Context) error {
	limit := p.Limit
	if limit == 0 {
		limit = 20 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	v, err := New(ctx, &Config{
		Tools: p.Tools, Accel: KVM, Memory: 256, CPUs: 1, NoReboot: true,
		Kernel: p.Kernel, CommandLine: "console=ttyS0 panic=-1",
	})
	if err != nil {
		return err
	}
	defer v.Close()
	if err := v.Start(ctx); err != nil {
		return err
	}
	_, err = v.Console().Expect(ctx, noRoot)
	return err
}
