package registry

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"slipway/cmd/internal/fleet/schedule"
)

// engineVersion is that of fleet 1.0: the form of what is decided.
const engineVersion = 1

// Elect makes a machine's engine the leader if there is none. The leadership
// goes with the machine's lease.
func (r *Registry) Elect(ctx context.Context, machine string, lease clientv3.LeaseID) (elected bool, err error) {
	return r.txn(ctx, "elect engine", []clientv3.Cmp{absent(r.key(leaderKey))},
		clientv3.OpPut(r.key(leaderKey), encode(Leader{MachineID: machine, Version: engineVersion}), clientv3.WithLease(lease)))
}

// Resign gives up a leadership.
func (r *Registry) Resign(ctx context.Context, l *Leader) error {
	_, err := r.txn(ctx, "resign", []clientv3.Cmp{r.leads(l)}, clientv3.OpDelete(r.key(leaderKey)))
	return err
}

func (r *Registry) leads(l *Leader) clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(r.key(leaderKey)), "=", l.Revision)
}

// SetTargets writes decisions that a leader made on a view. They are written
// in parts; each is written whole or not at all, and only if the leader still
// leads and the units are still as they were in the view. Otherwise the error
// is ErrChanged, and the rest is not written. It returns the revision of the
// last part that was.
func (r *Registry) SetTargets(ctx context.Context, l *Leader, v *View, decisions []schedule.Decision) (
	revision int64, err error,
) {
	const each = (maxOps - 1) / 3 // comparisons
	for len(decisions) > 0 {
		part := decisions[:min(each, len(decisions))]
		decisions = decisions[len(part):]
		compares := []clientv3.Cmp{r.leads(l)}
		var ops []clientv3.Op
		for _, d := range part {
			job := v.Jobs[d.Unit]
			if job == nil {
				return revision, ErrChanged
			}
			key := r.targetKey(d.Unit)
			compares = append(compares, unchanged(key, job.targetRev),
				unchanged(r.objectKey(d.Unit), job.objectRev), unchanged(r.desiredKey(d.Unit), job.desiredRev))
			if d.To == "" {
				ops = append(ops, clientv3.OpDelete(key))
			} else {
				ops = append(ops, clientv3.OpPut(key, d.To))
			}
		}
		done, at, err := r.txnAt(ctx, "set targets", compares, ops...)
		if err != nil {
			return revision, err
		}
		if !done {
			return revision, ErrChanged
		}
		revision = at
	}
	return revision, nil
}

// Bury removes tombstones that are older than an age.
func (r *Registry) Bury(ctx context.Context, v *View, now time.Time, age time.Duration) error {
	var ops []clientv3.Op
	for name, t := range v.Destroyed {
		if now.Sub(t.At) > age && len(ops) < maxOps {
			ops = append(ops, clientv3.OpDelete(r.key(destroyedDir, name)))
		}
	}
	if len(ops) == 0 {
		return nil
	}
	_, err := r.txn(ctx, "remove tombstones", nil, ops...)
	return err
}
