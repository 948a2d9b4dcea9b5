package catalogue

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// checkEvery is how old the knowledge of a file may be before it is looked at
// again.
const checkEvery = 10 * time.Second

// File is a catalogue that follows a file: what is changed on disk counts within
// seconds, without a restart. A file that has become unreadable leaves the last
// good catalogue in place. It is safe for concurrent use.
type File struct {
	path string
	log  *slog.Logger
	now  func() time.Time

	mu      sync.Mutex
	current *Catalogue
	stamp   stamp
	checked time.Time
}

// stamp tells versions of a file apart without reading them.
type stamp struct {
	modified time.Time
	size     int64
}

// OpenFile returns the catalogue of a file that [Load] reads, or for "" the one
// that comes with the program. A file that cannot be read now is an error; log
// gets what happens to it later, nil discards.
func OpenFile(path string, log *slog.Logger) (*File, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	f := &File{path: path, log: log, now: time.Now, current: Default()}
	if path == "" {
		return f, nil
	}
	return f, f.read()
}

// read takes over the file if it is another than the one before. f.mu is held, or
// f is not shared yet.
func (f *File) read() error {
	f.checked = f.now()
	info, err := os.Stat(f.path)
	if err != nil {
		return fmt.Errorf("looking at the catalogue of models: %w", err)
	}
	at := stamp{info.ModTime(), info.Size()}
	if at == f.stamp {
		return nil
	}
	f.stamp = at // a file that cannot be read is not read again until it changes
	c, err := Load(f.path)
	if err != nil {
		return err
	}
	f.current = c
	return nil
}

// Catalogue returns what counts now.
func (f *File) Catalogue() *Catalogue {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.path == "" || f.now().Sub(f.checked) < checkEvery {
		return f.current
	}
	if err := f.read(); err != nil {
		f.log.Warn("the catalogue of models cannot be read again; the one before counts on", "path", f.path, "err", err)
	}
	return f.current
}
