package qemutests_test

import (
	"testing"

	"slipway/qemu-tests/vm"
)

// updateCase is one way for an update to go well or badly. Every case starts
// from a disk that has been in use, with the next version in USR-B.
type updateCase struct {
	name  string
	scope scope
	uefi  string // the channel on which it starts from UEFI; BIOS elsewhere
	run   func(c *updateRun)
}

// updateRun is one case on one channel.
type updateRun struct {
	*testing.T
	*lab
	firmware vm.Firmware
}

// updateCases are the cases. The testing package begins with the first of tests
// that may run at once and goes on from the last one backwards: those that wait
// for what the first one makes stand behind it.
func updateCases() []updateCase {
	return []updateCase{
		{"good-slot", everyChannel, "beta", testGoodSlot},
		{"other-kernel-and-back", everyChannel, "beta", testOtherKernel},
		{"power-cut-takes-try", alphaOnly, "", testPowerCutTries},
		{"power-cut-in-stage-1", alphaOnly, "", testPowerCutStage1},
		{"kernel-panics", alphaOnly, "", testKernelPanics}, // waits for second-update
		{"corrupt-data", everyChannel, "stable", testCorruptData},
		{"corrupt-hash-tree", alphaOnly, "", testCorruptHashTree},
		{"unknown-key", alphaOnly, "", testUnknownKey},
		{"truncated-slot", alphaOnly, "", testTruncatedSlot},
		{"never-healthy", everyChannel, "", testNeverHealthy},
		{"kernel-hangs", alphaOnly, "", testKernelHangs},
		{"tries-exhausted", alphaOnly, "", testTriesExhausted},
		{"no-primary-table", alphaOnly, "", testNoPrimaryTable},
		{"no-backup-table", alphaOnly, "", testNoBackupTable},
		{"both-slots-bad", alphaOnly, "", testBothSlotsBad},
		{"second-update", alphaOnly, "", testSecondUpdate},
	}
}

// TestUpdate puts the next version into the other slot, good or bad. Whatever
// it is, the machine must run the right slot afterwards, have everything that
// was in ROOT, and say what happened.
func TestUpdate(t *testing.T) {
	eachChannel(t, everyChannel, func(t *testing.T, l *lab) {
		for _, c := range updateCases() {
			if c.scope == alphaOnly && *channelFlag == "ci" && l.Channel != "alpha" {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				run := &updateRun{T: t, lab: l, firmware: vm.BIOS}
				if c.uefi == l.Channel {
					run.firmware = vm.UEFI
				}
				c.run(run)
			})
		}
	})
}
