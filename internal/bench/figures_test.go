package bench

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// quantile returns the q-quantile (0 to 1) of samples, which it sorts.
func quantile[T ~int64 | ~float64](samples []T, q float64) T {
	if len(samples) == 0 {
		return 0
	}
	slices.Sort(samples)
	return samples[min(len(samples)-1, int(float64(len(samples))*q))]
}

func ms(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// reportLatency prints the median, the 99th percentile and the worst of samples.
func reportLatency(b *testing.B, name string, samples []time.Duration) {
	if name != "" {
		name += "-"
	}
	b.ReportMetric(ms(quantile(samples, 0.5)), name+"p50-ms")
	b.ReportMetric(ms(quantile(samples, 0.99)), name+"p99-ms")
	b.ReportMetric(ms(quantile(samples, 1)), name+"max-ms")
	b.ReportMetric(0, "ns/op")
}

// userTick is the unit of /proc: USER_HZ is 100 on all of Linux's platforms that
// Go knows.
const userTick = 10 * time.Millisecond

// cpu is the processor time that this process and its descendants have used, by
// program.
func cpu(b *testing.B) map[string]time.Duration {
	b.Helper()
	type process struct {
		parent int
		name   string
		used   time.Duration
	}
	all := map[int]process{}
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		b.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// pid (name) state ppid …; the name may have spaces and brackets.
		s := string(text)
		open, shut := strings.IndexByte(s, '('), strings.LastIndexByte(s, ')')
		fields := strings.Fields(s[shut+1:])
		number := func(s string) int {
			n, err := strconv.Atoi(s)
			if err != nil {
				b.Fatalf("%s: %v", file, err)
			}
			return n
		}
		all[number(strings.TrimSpace(s[:open]))] = process{
			number(fields[1]), s[open+1 : shut], userTick * time.Duration(number(fields[11])+number(fields[12])),
		}
	}
	used := map[string]time.Duration{}
	for pid, p := range all {
		for at := pid; at != 0; at = all[at].parent {
			if at != os.Getpid() {
				continue
			}
			name := p.name
			switch {
			case pid == os.Getpid():
				name = "client"
			case strings.HasPrefix(name, "nats-server"):
				name = "nats"
			}
			used[name] += p.used
		}
	}
	return used
}

// usage is how much processor time was used until a moment.
type usage struct {
	at   time.Time
	mine map[string]time.Duration // by program
	all  time.Duration            // of the whole machine
}

func used(b *testing.B) usage {
	b.Helper()
	u := usage{at: time.Now(), mine: cpu(b)}
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		b.Fatal(err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	for i, field := range strings.Fields(line)[1:] {
		n, err := strconv.Atoi(field)
		if err != nil {
			b.Fatal(err)
		}
		if i != 3 && i != 4 && i < 8 { // idle, waiting for the disk, guests that are counted already
			u.all += time.Duration(n) * userTick
		}
	}
	return u
}

// report prints what each program has used since, in µs per operation, how many
// cores that is, and how many others used meanwhile: a figure that was taken
// beside a compiler says little about anything but processor time.
func (u usage) report(b *testing.B, operations int, unit string) {
	b.Helper()
	now := used(b)
	took := now.at.Sub(u.at).Seconds()
	sum := time.Duration(0)
	for _, name := range slices.Sorted(maps.Keys(now.mine)) {
		since := now.mine[name] - u.mine[name]
		sum += since
		if per := float64(since.Microseconds()) / float64(max(1, operations)); operations > 0 && per >= 0.1 {
			b.ReportMetric(per, name+"-µs/"+unit)
		}
	}
	b.ReportMetric(sum.Seconds()/took, "cores")
	b.ReportMetric(max(0, (now.all-u.all-sum).Seconds()/took), "others-cores")
}

// resident is the memory of a process in bytes: now and at most.
func resident(b *testing.B, pid int) (now, most float64) {
	b.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		kb, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 64)
		if err != nil {
			continue
		}
		switch name {
		case "VmRSS":
			now = kb * 1024
		case "VmHWM":
			most = kb * 1024
		}
	}
	return now, most
}
