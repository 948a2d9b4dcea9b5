package app

import (
	"context"
	"os"
	"strings"
	"sync"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
)

const (
	// secretWait bounds how long the vault may take to give a secret.
	secretWait = 10 * time.Second
	// secretGrace is how old a secret may be that is used while the vault does not
	// answer. While it answers it is asked each time: one that was replaced or deleted
	// counts no more from then on.
	secretGrace = 5 * time.Minute
	// vaultRest is how long a vault that did not answer is not asked for what is known.
	vaultRest = 2 * time.Second
	// maxSecrets bounds how many secrets a worker remembers.
	maxSecrets = 4096
)

// secretMemory is what the vault last said of secrets, by tenant and name. It is in
// memory only, for as long as [secretGrace].
type secretMemory struct {
	mu   sync.Mutex // guards what follows
	said map[secretOf]saidSecret
	away time.Time // when the vault last did not answer, zero since it did
}

type secretOf struct{ tenant, name string }

// saidSecret is what the vault said of a secret: that it has none, too.
type saidSecret struct {
	value string
	found bool
	at    time.Time
}

// note keeps what the vault said.
func (m *secretMemory) note(of secretOf, value string, found bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.away = time.Time{}
	if m.said == nil || len(m.said) >= maxSecrets {
		m.said = map[secretOf]saidSecret{}
	}
	m.said[of] = saidSecret{value, found, time.Now()}
}

// recall returns what the vault said, if it does not answer now and that is not too
// long ago. failed says that it has just been asked in vain.
func (m *secretMemory) recall(of secretOf, failed bool) (saidSecret, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if failed {
		m.away = time.Now()
	}
	s, ok := m.said[of]
	if ok && time.Since(s.at) > secretGrace {
		delete(m.said, of)
		ok = false
	}
	return s, ok && time.Since(m.away) < vaultRest
}

// vaultSecret asks the vault, or remembers what it said while it does not answer. If
// nothing is known the error is CodeUnavailable: the loop waits with it for the vault.
func (a *agents) vaultSecret(ctx context.Context, tenant, name string) (value string, found bool, err error) {
	of := secretOf{tenant, name}
	if s, ok := a.secrets.recall(of, false); ok {
		return s.value, s.found, nil
	}
	vctx, cancel := context.WithTimeout(ctx, secretWait)
	defer cancel()
	value, found, err = a.auth.vault.Secret(vctx, tenant, name)
	switch {
	case err == nil:
		a.secrets.note(of, value, found)
		return value, found, nil
	case ctx.Err() != nil:
		return "", false, context.Cause(ctx)
	}
	if s, ok := a.secrets.recall(of, true); ok {
		return s.value, s.found, nil
	}
	return "", false, holdfast.WrapError(holdfast.CodeUnavailable, err, "the secret "+name+" cannot be read now: the vault does not answer")
}

// secret returns the value of a tenant's secret: from the vault, else, where that
// is allowed, from the worker's environment.
func (a *agents) secret(ctx context.Context, tenant, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	if a.auth != nil {
		if value, ok, err := a.vaultSecret(ctx, tenant, name); ok || err != nil {
			return value, err
		}
	}
	if !a.keys {
		return "", holdfast.Errorf(holdfast.CodeModelAuth, "the secret %s of tenant %q is not known: this deployment does not use keys of the worker's environment (HOLDFAST_MODEL_KEYS_FROM_ENV)", name, tenant)
	}
	if a.hosted && strings.HasPrefix(strings.ToUpper(name), "HOLDFAST_") {
		// Whoever may write an agent file chooses the name, and where the value is sent.
		return "", holdfast.Errorf(holdfast.CodeModelAuth, "%s belongs to the deployment: agent files get none of its settings", name)
	}
	value := os.Getenv(name)
	if value == "" {
		return "", holdfast.Errorf(holdfast.CodeModelAuth, "the key %s is not set: put it into the environment, or use a model that needs none", name)
	}
	return value, nil
}

// lookup gives the secrets of a tenant.
func (a *agents) lookup(ctx context.Context, tenant string) agent.Lookup {
	return func(name string) (string, error) { return a.secret(ctx, tenant, name) }
}
