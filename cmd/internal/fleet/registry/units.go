package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"slipway/cmd/internal/fleet/unit"
)

// encode writes a value; the types here cannot fail.
func encode(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic("internal error: " + err.Error())
	}
	return string(text)
}

// Unit reads one unit, ErrNotFound if there is none.
func (r *Registry) Unit(ctx context.Context, name string) (*Job, error) {
	key := r.key(jobDir, name, "/")
	answer, err := r.get(ctx, "read unit", key, clientv3.WithPrefix())
	if err != nil {
		return nil, err
	}
	m := newModel(r.prefix)
	for _, kv := range answer.Kvs {
		if err := m.set(string(kv.Key), kv); err != nil {
			return nil, err
		}
	}
	if job := m.jobs[name]; job != nil && job.UID != "" {
		return job, nil
	}
	return nil, ErrNotFound
}

// CreateUnit stores a unit that does not exist, else it is ErrExists.
func (r *Registry) CreateUnit(ctx context.Context, name, uid string, f *unit.File, desired unit.State) error {
	done, err := r.txn(ctx, "create unit", []clientv3.Cmp{absent(r.objectKey(name))},
		clientv3.OpPut(r.objectKey(name), encodeUnit(name, uid, f)),
		clientv3.OpPut(r.desiredKey(name), string(desired)),
		clientv3.OpDelete(r.targetKey(name)),
		clientv3.OpDelete(r.key(destroyedDir, name)))
	if err == nil && !done {
		err = ErrExists
	}
	return err
}

func encodeUnit(name, uid string, f *unit.File) string {
	return encode(object{Name: name, UID: uid, UnitHash: f.Hash(), Raw: string(f.Bytes())})
}

// ReplaceUnit gives a unit another file. It is ErrChanged if the unit is not
// as it was when it was read.
func (r *Registry) ReplaceUnit(ctx context.Context, old *Job, f *unit.File, desired unit.State) error {
	ops := []clientv3.Op{clientv3.OpPut(r.objectKey(old.Name), encodeUnit(old.Name, old.UID, f))}
	if desired != old.Desired {
		ops = append(ops, clientv3.OpPut(r.desiredKey(old.Name), string(desired)))
	}
	done, err := r.txn(ctx, "replace unit", []clientv3.Cmp{unchanged(r.objectKey(old.Name), old.objectRev)}, ops...)
	if err == nil && !done {
		err = ErrChanged
	}
	return err
}

// SetDesired says what is wanted of a unit, ErrNotFound if there is none.
func (r *Registry) SetDesired(ctx context.Context, name string, desired unit.State) error {
	done, err := r.txn(ctx, "set state of unit", []clientv3.Cmp{
		exists(r.objectKey(name)), clientv3.Compare(clientv3.Value(r.desiredKey(name)), "!=", string(desired)),
	}, clientv3.OpPut(r.desiredKey(name), string(desired)))
	if err != nil || done {
		return err
	}
	// It is so already, or there is no unit, or one that lost its state.
	job, err := r.Unit(ctx, name)
	if err != nil || job.Desired == desired && job.desiredRev > 0 {
		return err
	}
	done, err = r.txn(ctx, "set state of unit", []clientv3.Cmp{unchanged(r.objectKey(name), job.objectRev)},
		clientv3.OpPut(r.desiredKey(name), string(desired)))
	if err == nil && !done {
		err = ErrChanged
	}
	return err
}

// DestroyUnit removes a unit and leaves its tombstone.
func (r *Registry) DestroyUnit(ctx context.Context, name string, now time.Time) error {
	job, err := r.Unit(ctx, name)
	if err != nil {
		return err
	}
	done, err := r.txn(ctx, "destroy unit", []clientv3.Cmp{unchanged(r.objectKey(name), job.objectRev)},
		clientv3.OpDelete(r.key(jobDir, name, "/"), clientv3.WithPrefix()),
		clientv3.OpPut(r.key(destroyedDir, name), encode(Tombstone{job.UID, now.UTC()})))
	if err == nil && !done {
		err = ErrChanged
	}
	return err
}

// SetMetadata changes metadata of a machine; "" takes a key away. It outlives
// the machine's presence.
func (r *Registry) SetMetadata(ctx context.Context, machine, key, value string) error {
	name := r.key(machinesDir, machine, "/metadata/", key)
	done, err := r.txn(ctx, "set metadata", []clientv3.Cmp{absent(name)}, clientv3.OpPut(name, value))
	if err == nil && !done {
		_, err = r.txn(ctx, "set metadata", []clientv3.Cmp{clientv3.Compare(clientv3.Value(name), "!=", value)},
			clientv3.OpPut(name, value))
	}
	if err != nil {
		return fmt.Errorf("machine %s: %w", machine, err)
	}
	return nil
}
