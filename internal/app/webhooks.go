package app

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/holdfast-run/holdfast/internal/egress"
	"github.com/holdfast-run/holdfast/internal/httpapi"
	"github.com/holdfast-run/holdfast/internal/webhook"
)

// webhooks makes what signs and guards webhooks, nil if the deployment has no key
// for them: the embedded mode makes one, which is in its folder.
func (p *program) webhooks() (*httpapi.Webhooks, error) {
	if p.hooks != nil {
		return p.hooks, nil
	}
	key := []byte(p.cfg.WebhookKey.Reveal())
	if len(key) == 0 {
		if p.cfg.NATSURL != "" || p.cfg.DatabaseURL != "" {
			return nil, nil
		}
		var err error
		if key, err = webhookKeyFile(filepath.Join(p.cfg.Data, "webhook.key")); err != nil {
			return nil, err
		}
	}
	sum := sha256.Sum256(key)
	signer, err := webhook.NewSigner(sum[:])
	if err != nil {
		return nil, err
	}
	p.guard = egress.New(egress.Policy{
		AllowHosts: p.cfg.EgressAllow, AllowLoopback: !p.cfg.Hosted.Or(p.o.Hosted), MaxBody: 64 << 10,
	})
	p.onStop(func() error { p.guard.CloseIdleConnections(); return nil })
	p.hooks = &httpapi.Webhooks{Store: p.store, Signer: signer, Check: p.guard.Check}
	return p.hooks, nil
}

// webhookKeyFile reads the key of the embedded mode, and makes it the first time:
// whole or not at all, and one for all who come at once.
func webhookKeyFile(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		if err != nil {
			return nil, fmt.Errorf("read the key of webhooks: %w", err)
		}
		return key, nil
	}
	if err := makeWebhookKey(path); err != nil {
		return nil, fmt.Errorf("make the key of webhooks: %w", err)
	}
	if key, err = os.ReadFile(path); err != nil {
		return nil, fmt.Errorf("read the key of webhooks: %w", err)
	}
	return key, nil
}

// makeWebhookKey writes a new key beside its place and links it there, unless
// somebody else was quicker.
func makeWebhookKey(path string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if rerr := os.Remove(f.Name()); !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}()
	_, err = f.WriteString(rand.Text() + rand.Text())
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return os.Rename(f.Name(), path) // a file system without links
	}
	return nil
}

// startWebhooks starts what delivers, wherever a recorder may run.
func (p *program) startWebhooks() error {
	w, err := p.webhooks()
	if err != nil || w == nil {
		return err
	}
	d := webhook.New(webhook.Config{Store: p.store, Signer: w.Signer, Transport: p.guard, Logger: p.log})
	p.background("webhooks", d.Run, nil)
	return nil
}
