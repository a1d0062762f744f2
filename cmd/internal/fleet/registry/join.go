package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// join takes up the old lease, or a new one, and writes the machine's key. Time
// is short when others may have noticed: so it asks little, and another member
// of etcd when one does not answer soon.
func (p *Presence) join(ctx context.Context, patience time.Duration) error {
	const shortest = 500 * time.Millisecond
	patience = max(shortest, patience)
	lease := cmp.Or(p.Current(), p.Lease)
	if lease != 0 {
		switch err := p.renew(ctx, lease); {
		case errors.Is(err, rpctypes.ErrLeaseNotFound):
			lease = 0
		case err != nil:
			return err
		}
	}
	if lease == 0 {
		var err error
		if lease, err = p.grant(ctx, patience); err != nil {
			return err
		}
	}
	old, err := p.write(ctx, patience, lease)
	if err != nil {
		return err
	}
	if err := p.ensureCluster(ctx); err != nil {
		return err
	}
	p.joined = true
	p.setLease(lease)
	p.revoke(ctx, old)
	return nil
}

func (p *Presence) grant(ctx context.Context, patience time.Duration) (clientv3.LeaseID, error) {
	ctx, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), patience)
	defer cancel()
	var answer *clientv3.LeaseGrantResponse
	err := ledMember(ctx, func() (err error) {
		answer, err = p.Registry.client.Grant(ctx, max(1, int64(p.TTL.Round(time.Second)/time.Second)))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("lease: %w", err)
	}
	return answer.ID, nil
}

// ensureCluster gives an empty registry an id.
func (p *Presence) ensureCluster(ctx context.Context) error {
	key := p.Registry.key(clusterKey)
	_, err := p.Registry.txn(ctx, "name the cluster", []clientv3.Cmp{absent(key)},
		clientv3.OpPut(key, encode(Cluster{p.NewClusterID(), p.Now().UTC()})))
	return err
}

// write writes the machine's key unless it is there, and returns the lease that
// it had: that of the boot before, 0 if there was none.
func (p *Presence) write(ctx context.Context, patience time.Duration, lease clientv3.LeaseID) (old clientv3.LeaseID, err error) {
	ctx, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), patience)
	defer cancel()
	key, value := p.Registry.key(machinesDir, p.Machine.ID, "/object"), encode(p.Machine)
	var answer *clientv3.TxnResponse
	err = ledMember(ctx, func() (err error) {
		answer, err = p.Registry.client.Txn(ctx).If(
			clientv3.Compare(clientv3.Value(key), "=", value), clientv3.Compare(clientv3.LeaseValue(key), "=", lease),
		).Else(clientv3.OpPut(key, value, clientv3.WithLease(lease), clientv3.WithPrevKV())).Commit()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("write machine: %w", err)
	}
	if answer.Succeeded || answer.Responses[0].GetResponsePut().PrevKv == nil {
		return 0, nil
	}
	before := answer.Responses[0].GetResponsePut().PrevKv
	// Once this boot was there, another boot is another machine: it took the
	// place. What it says is left to it.
	if m, err := decode[Machine](before); err == nil && p.joined && m.Boot != p.Machine.Boot {
		p.complain(m)
		return 0, nil
	}
	if before.Lease == int64(lease) {
		return 0, nil
	}
	return clientv3.LeaseID(before.Lease), nil
}

// revoke gives up a lease, and what hung on it goes.
func (p *Presence) revoke(ctx context.Context, lease clientv3.LeaseID) {
	if lease == 0 {
		return
	}
	ctx, cancel := p.Registry.request(ctx)
	defer cancel()
	if _, err := p.Registry.client.Revoke(ctx, lease); err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		p.Log.Info("lease of the boot before is left to expire", "error", err)
	}
}
