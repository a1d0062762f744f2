package qemutests_test

import (
	"fmt"

	"github.com/stretchr/testify/assert"

	"slipway/qemu-tests/vm"
)

// testKernelPanics starts with an update whose kernel panics: the machine
// restarts by itself and runs the version before.
func testKernelPanics(c *updateRun) {
	m := c.panicked(c)
	m.runs(c.T, "USR-A", c.release)
	m.says(c.T, `USR-B.*: `+spent)
	assert.Equal(c, spent, m.bootReport(c.T).Failures["USR-B"])
}

// panicked returns a machine that runs after an update whose kernel panics.
func (l *lab) panicked(c *updateRun) *machine {
	bad := l.variant(c.T, panics)
	d := l.used(c.T)
	d.install(c.T, "USR-B", bad)
	d.onTrial(c.T)
	m := d.boot(c.T, lean(&vm.Config{Firmware: c.firmware}))
	m.expect(c.T, fmt.Sprintf(`slipway: USR-B: version %s brings another kernel: starting it`, bad.Version))
	m.expect(c.T, `Kernel panic - not syncing: VFS: Unable to mount root fs`)
	m.up(c.T)
	return m
}

// testSecondUpdate updates again after an update that failed: nothing that the
// first one left behind may be in its way.
func testSecondUpdate(c *updateRun) {
	m := c.panicked(c)
	assert.Equal(c, "priority=2 tries=0 successful=0", m.attributes(c.T, 4))
	m.shutdown(c.T)
	bad, good := c.used(c.T), c.used(c.T)
	bad.install(c.T, "USR-B", c.variant(c.T, panics))
	assert.NoError(c, m.Write(c.Context(), good.differences(c.T, bad)))

	m.start(c.T)
	m.up(c.T)
	m.runs(c.T, "USR-A", c.release) // the new slot is not to be started yet
	m.run(c.T, "cgpt add -i 4 -P 2 -T 1 -S 0 /dev/vda")
	m.reboot(c.T)
	m.runs(c.T, "USR-B", c.variant(c.T, next))
	assert.Empty(c, m.bootReport(c.T).Failures)
}

// testKernelHangs starts with an update whose kernel never gets to its
// initramfs: the watchdog, which the kernel before has started, restarts the
// machine, and it runs the version before.
func testKernelHangs(c *updateRun) {
	bad := c.variant(c.T, hangs)
	d := c.used(c.T)
	d.install(c.T, "USR-B", bad)
	d.onTrial(c.T)
	m := d.boot(c.T, lean(&vm.Config{Firmware: c.firmware}))
	m.expect(c.T, `slipway: USR-B: version \S+ brings another kernel: starting it`)
	m.expect(c.T, `slipway: the start before this one hung and was ended by the watchdog`)
	m.up(c.T)
	assert.Equal(c, spent, m.runs(c.T, "USR-A", c.release).Failures["USR-B"])
	m.says(c.T, `USR-B.*: `+spent)
	m.expect(c.T, `version \S+ in USR-B failed: hung, and the watchdog restarted the machine`)
}

// testNeverHealthy starts with an update in which a unit fails that its health
// depends on: the machine restarts, runs the version before and says why.
func testNeverHealthy(c *updateRun) {
	newer := c.variant(c.T, next)
	d := c.used(c.T)
	d.onTrial(c.T)
	credentials := healthSoon()
	credentials["systemd.extra-unit.never.service"] = "[Unit]\nConditionKernelCommandLine=slipway.test=next\n" +
		"[Service]\nType=oneshot\nExecStart=/bin/false\n"
	credentials["systemd.unit-dropin.boot-complete.target"] = "[Unit]\nRequires=never.service\nAfter=never.service\n"
	m := d.boot(c.T, lean(&vm.Config{Firmware: c.firmware, Credentials: credentials}))
	const reason = `never\.service failed \(exit-code, status 1\)`
	m.expect(c.T, `slipway: version `+newer.Version+` in USR-B is not healthy: `+reason)
	m.expect(c.T, `slipway: version `+newer.Version+` in USR-B failed: `+reason)
	m.expect(c.T, `slipway: this machine runs `+c.Version+` from USR-A`)
	m.up(c.T)
	m.runs(c.T, "USR-A", c.release)
	assert.Equal(c, "priority=2 tries=0 successful=0", m.attributes(c.T, 4))
	assert.Equal(c, "priority=1 tries=0 successful=1", m.attributes(c.T, 3))
	assert.Regexp(c, reason, m.run(c.T, "slipway-host status"))
}
