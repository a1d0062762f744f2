package lock

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// revokeLimit is how long going away in order may take.
const revokeLimit = 2 * time.Second

// Attend shows that a machine is there, until ctx ends or etcd forgets it, which
// is an error. What is said about the machine comes from updates, the first of
// which it waits for; ready is called whenever one is in etcd. ttl is how long
// after its end a machine still counts as being there, at least a second.
func (s *Store) Attend(
	ctx context.Context, id string, ttl time.Duration, updates <-chan Presence, ready func(),
) error {
	first, cancel := context.WithTimeout(ctx, requestLimit)
	lease, err := s.etcd.Grant(first, int64(max(ttl/time.Second, 1)))
	cancel()
	if err != nil {
		return fmt.Errorf("etcd: lease: %w", err)
	}
	defer s.revoke(ctx, lease.ID)
	alive, err := s.etcd.KeepAlive(ctx, lease.ID)
	if err != nil {
		return fmt.Errorf("etcd: lease: %w", err)
	}
	for {
		select {
		case p := <-updates:
			text, err := json.Marshal(p)
			if err != nil {
				return fmt.Errorf("internal error: presence: %w", err)
			}
			put := clientv3.OpPut(s.machine(id), string(text), clientv3.WithLease(lease.ID))
			if _, err := s.commit(ctx, nil, put); err != nil {
				return err
			}
			ready()
		case _, open := <-alive:
			if !open && ctx.Err() == nil {
				return errors.New("etcd: lease: was not kept alive in time")
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// revoke makes the end known at once, if etcd can be asked at all.
func (s *Store) revoke(ctx context.Context, lease clientv3.LeaseID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeLimit)
	defer cancel()
	_, _ = s.etcd.Revoke(ctx, lease) // it ends by itself otherwise
}
