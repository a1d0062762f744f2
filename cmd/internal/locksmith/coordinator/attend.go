package coordinator

import (
	"context"
	"sync"

	"slipway/cmd/internal/locksmith/lock"
)

// attend shows the others that this machine is there, as long as it is.
func (c *coordinator) attend(ctx context.Context) error {
	since := c.Now().UTC()
	var wait patience
	for {
		updates := make(chan lock.Presence)
		part, cancel := context.WithCancel(ctx)
		var feeding sync.WaitGroup
		feeding.Go(func() {
			for {
				r, changed := c.health.next()
				p := lock.Presence{Host: c.host, Boot: c.boot, Since: since}
				if r != nil {
					p.Version, p.Health = r.Version, r.Text
				}
				select {
				case updates <- p:
				case <-part.Done():
					return
				}
				select {
				case <-changed:
				case <-part.Done():
					return
				}
			}
		})
		err := c.lock.Attend(part, c.id, presenceTTL, updates, func() {
			wait = 0
			if !c.there.now() {
				c.there.set(true)
			}
		})
		cancel()
		feeding.Wait()
		c.there.set(false)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		d := wait.next()
		c.say("%v; trying again in %s", err, d)
		if err := pause(ctx, d); err != nil {
			return err
		}
	}
}
