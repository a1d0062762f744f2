package qemutests_test

import (
	"fmt"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/qemu-tests/vm"
)

// failed is a machine that runs the version before after an update whose kernel
// panicked. It is off now, and USR-B is to be tried again.
type failed struct {
	*machine
	report     bootReport
	attributes string // of USR-B, when it had failed
	journal    string // of bootengine
}

// failed lets the update fail, once.
func (c *updateRun) failed() *failed {
	return c.failures.get(c.T, func() *failed {
		bad := c.variant(c.T, panics)
		d := c.used(c.T)
		d.install(c.T, "USR-B", bad)
		d.onTrial(c.T)
		m := d.bootShared(c.T, bare(&vm.Config{Firmware: c.firmware}))
		m.expect(c.T, fmt.Sprintf(`slipway: USR-B: version %s brings another kernel: starting it`, bad.Version))
		m.expect(c.T, `Kernel panic - not syncing: VFS: Unable to mount root fs`)
		m.up(c.T)
		f := &failed{machine: m, report: m.runs(c.T, "USR-A", c.release)}
		f.attributes, f.journal = m.attributes(c.T, 4), m.journal(c.T)
		m.run(c.T, "cgpt add -i 4 -P 2 -T 1 -S 0 /dev/vda")
		m.shutdown(c.T)
		return f
	})
}

// testKernelPanics starts with an update whose kernel panics: the machine
// restarts by itself and runs the version before.
func testKernelPanics(c *updateRun) {
	f := c.failed()
	assert.Equal(c, spent, f.report.Failures["USR-B"])
	assert.Regexp(c, `(?m)^USR-B.*: `+spent, f.journal)
	assert.Equal(c, "priority=2 tries=0 successful=0", f.attributes)
}

// testSecondUpdate updates again after an update that failed: nothing that the
// first one left behind may be in its way.
func testSecondUpdate(c *updateRun) {
	f := c.failed()
	good, bad := c.used(c.T), c.used(c.T)
	bad.install(c.T, "USR-B", c.variant(c.T, panics))
	require.NoError(c, f.Write(c.Context(), good.differences(c.T, bad)))
	f.watch(c.T)
	f.start(c.T)
	f.up(c.T)
	f.runs(c.T, "USR-B", c.variant(c.T, next))
	assert.Empty(c, f.bootReport(c.T).Failures)
	assert.Equal(c, "priority=2 tries=0 successful=0", f.machine.attributes(c.T, 4), "not proven yet")
}

// testKernelHangs starts with an update whose kernel never gets to its
// initramfs: the watchdog, which the kernel before has started, restarts the
// machine, and it runs the version before.
func testKernelHangs(c *updateRun) {
	bad := c.variant(c.T, hangs)
	d := c.used(c.T)
	d.install(c.T, "USR-B", bad)
	d.onTrial(c.T)
	m := d.boot(c.T, offline(&vm.Config{Firmware: c.firmware, Credentials: healthSoon()}))
	m.expect(c.T, `slipway: USR-B: version \S+ brings another kernel: starting it`)
	m.expect(c.T, `slipway: the start before this one hung and was ended by the watchdog`)
	m.up(c.T)
	assert.Equal(c, spent, m.runs(c.T, "USR-A", c.release).Failures["USR-B"])
	m.says(c.T, `USR-B.*: `+spent)
	m.expect(c.T, `version \S+ in USR-B failed: .*hung, and the watchdog restarted the machine`)
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
	m := d.boot(c.T, offline(&vm.Config{Firmware: c.firmware, Credentials: credentials}))
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
