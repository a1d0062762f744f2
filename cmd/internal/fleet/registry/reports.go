package registry

import (
	"context"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"slipway/cmd/internal/fleet/unit"
)

// Report is what a machine says of a unit it has.
type Report struct {
	Unit    string `json:"-"`
	Machine string `json:"-"`
	Hash    string `json:"unitHash"`
	// State is what the machine has done with the unit.
	State unit.State `json:"state"`
	// Load, Active and Sub are what systemd says.
	Load   string `json:"loadState"`
	Active string `json:"activeState"`
	Sub    string `json:"subState"`
}

// Reports reads what machines say of units. They are in byte order of units,
// then machines.
func (r *Registry) Reports(ctx context.Context) ([]Report, error) {
	return r.reports(ctx, r.key(statesDir))
}

// ReportsOf reads what machines say of one unit.
func (r *Registry) ReportsOf(ctx context.Context, unit string) ([]Report, error) {
	return r.reports(ctx, r.stateKey(unit, ""))
}

func (r *Registry) reports(ctx context.Context, prefix string) ([]Report, error) {
	answer, err := r.get(ctx, "read states", prefix, clientv3.WithPrefix())
	if err != nil {
		return nil, err
	}
	list := make([]Report, 0, len(answer.Kvs))
	for _, kv := range answer.Kvs {
		report, err := decode[Report](kv)
		name, machine, ok := strings.Cut(strings.TrimPrefix(string(kv.Key), r.key(statesDir)), "/")
		if err != nil || !ok {
			continue // of another version of this program; what it says is for people only
		}
		report.Unit, report.Machine = name, machine
		list = append(list, *report)
	}
	return list, nil
}

// Running says which machines report which units, without what they say.
func (r *Registry) Running(ctx context.Context) (map[string][]string, error) {
	dir := r.key(statesDir)
	answer, err := r.get(ctx, "read states", dir, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, err
	}
	running := map[string][]string{}
	for _, kv := range answer.Kvs {
		if name, machine, ok := strings.Cut(string(kv.Key)[len(dir):], "/"); ok {
			running[name] = append(running[name], machine)
		}
	}
	return running, nil
}

// Publish writes what a machine says of units; gone are those it has no more.
// All of it goes with the machine's lease.
func (r *Registry) Publish(ctx context.Context, machine string, lease clientv3.LeaseID, reports []Report, gone []string) error {
	var ops []clientv3.Op
	for _, p := range reports {
		ops = append(ops, clientv3.OpPut(r.stateKey(p.Unit, machine), encode(p), clientv3.WithLease(lease)))
	}
	for _, name := range gone {
		ops = append(ops, clientv3.OpDelete(r.stateKey(name, machine)))
	}
	for len(ops) > 0 {
		part := ops[:min(maxOps, len(ops))]
		ops = ops[len(part):]
		if _, err := r.txn(ctx, "publish states", nil, part...); err != nil {
			return err
		}
	}
	return nil
}
