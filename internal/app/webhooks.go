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
	p.guard = egress.New(egress.Policy{AllowLoopback: !p.cfg.Hosted.Or(p.o.Hosted), MaxBody: 64 << 10})
	p.onStop(func() error { p.guard.CloseIdleConnections(); return nil })
	p.hooks = &httpapi.Webhooks{Store: p.store, Signer: signer, Check: p.guard.Check}
	return p.hooks, nil
}

// webhookKeyFile reads the key of the embedded mode, and makes it the first time.
func webhookKeyFile(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.WriteFile(path, []byte(rand.Text()+rand.Text()), 0o600); err != nil {
			return nil, fmt.Errorf("make the key of webhooks: %w", err)
		}
		key, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the key of webhooks: %w", err)
	}
	return key, nil
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
