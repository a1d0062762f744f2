// Package updatebus is the D-Bus interface of the update engine,
// com.coreos.update1, as CoreOS's update_engine had it: both sides of it, for
// the engine that offers it and for programs that ask or listen.
//
// It carries words and numbers. What they mean, and when an update is begun, is
// the engine's business.
//
// Sources: update_engine.xml, dbus_constants.h and com.coreos.update1.conf of
// CoreOS's update_engine.
package updatebus

import "fmt"

// The names on the bus.
const (
	Name      = "com.coreos.update1"
	Path      = "/com/coreos/update1"
	Interface = "com.coreos.update1.Manager"

	signalStatus = "StatusUpdate"
)

// Operation is what the engine is at.
type Operation string

// The operations, in the order of an update. Verifying exists for those who
// know the interface; CoreOS's engine never showed it, nor does ours.
const (
	Idle          Operation = "UPDATE_STATUS_IDLE"
	Checking      Operation = "UPDATE_STATUS_CHECKING_FOR_UPDATE"
	Available     Operation = "UPDATE_STATUS_UPDATE_AVAILABLE"
	Downloading   Operation = "UPDATE_STATUS_DOWNLOADING"
	Verifying     Operation = "UPDATE_STATUS_VERIFYING"
	Finalizing    Operation = "UPDATE_STATUS_FINALIZING"
	NeedReboot    Operation = "UPDATE_STATUS_UPDATED_NEED_REBOOT"
	ReportingFail Operation = "UPDATE_STATUS_REPORTING_ERROR_EVENT"
)

// Status is what GetStatus answers and StatusUpdate tells.
type Status struct {
	LastChecked int64   // seconds since 1970, of the last check that was answered; 0 for never
	Progress    float64 // of the download, 0 to 1
	Operation   Operation
	NewVersion  string // "0.0.0" if there is none
	NewSize     int64  // of the payload, bytes
}

// String is the status as update_engine_client prints it.
func (s Status) String() string {
	return fmt.Sprintf("LAST_CHECKED_TIME=%d\nPROGRESS=%f\nCURRENT_OP=%s\nNEW_VERSION=%s\nNEW_SIZE=%d\n",
		s.LastChecked, s.Progress, s.Operation, s.NewVersion, s.NewSize)
}
