package lock

import "time"

// State is what a holder has the lock for.
type State string

// The states of a holder.
const (
	// Waiting is a machine that is about to restart: it waits for people to log
	// out. While it has not restarted, the lock is worth nothing to a machine
	// that is gone, and others may take it away.
	Waiting State = "waiting"
	// Restarting is a machine that went down, or is back and not healthy yet.
	Restarting State = "restarting"
	// Failed is a machine that came back and is not what it should be: not
	// healthy, or on the version before. It keeps the lock, which stops the
	// others from following it.
	Failed State = "failed"
	// Manual is a lock that a person took.
	Manual State = "manual"
)

// Record is what a holder says about its lock.
type Record struct {
	State State `json:"state"`
	// Since is when it took the lock, by its own clock.
	Since time.Time `json:"since"`
	// Host is the holder's name, for people.
	Host string `json:"host,omitempty"`
	// Boot is the kernel's id of the boot in which it took the lock.
	Boot string `json:"boot,omitempty"`
	// From is the version that ran then, To the one to run after the restart;
	// "" if that is not known.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Reason says why the state is Failed.
	Reason string `json:"reason,omitempty"`
	// Before is what a holder said that now tries something else.
	Before *Record `json:"before,omitempty"`
}

// follow takes over from what the same holder said before.
func (r *Record) follow(old *Record) {
	r.Since = old.Since
	switch {
	case old.Before != nil:
		r.Before = old.Before
	case old.State == Failed || old.State == Manual:
		r.Before = old
	}
}

// Presence is what a machine that is there says about itself.
type Presence struct {
	Host    string `json:"host"`
	Boot    string `json:"boot"`
	Version string `json:"version,omitempty"`
	// Health is a phase of package health and what it waits for.
	Health string `json:"health,omitempty"`
	// Since is when its coordinator started, by its own clock.
	Since time.Time `json:"since"`
}

// View is the lock at one moment.
type View struct {
	*Semaphore
	// Present are those of its holders that were there then, and of the machines
	// that were asked about besides.
	Present map[string]Presence

	revision int64 // of the document; 0: there is none
	at       int64 // the moment, as etcd counts
}

// Gone lists the holders whose lock may be taken away, in byte order: a machine
// that is not there and had not restarted yet, and, if timeout is not 0, one that
// was missing for so long. missing says since when a machine is, and is asked
// only about those that are. A machine that failed is never listed, nor what a
// person locked.
func (v *View) Gone(timeout time.Duration, missing func(id string) time.Duration) []string {
	var gone []string
	for _, id := range v.Holders() {
		if _, there := v.Present[id]; there {
			continue
		}
		r, _ := v.Holder(id)
		switch r.State {
		case Waiting:
			gone = append(gone, id)
		case Restarting:
			if away := missing(id); timeout > 0 && away >= timeout {
				gone = append(gone, id)
			}
		}
	}
	return gone
}
