{{/* Everything that is wrong with the values together, each in a sentence. What is wrong with one alone, the schema says. */}}
{{- define "consentd.check" -}}
{{- $wrong := list -}}
{{- $values := .Values -}}
{{- $isServer := include "consentd.isServer" . -}}
{{- $ledger := include "consentd.on" $values.config.ledger | fromJson -}}
{{- $server := include "consentd.on" $values.config.server | fromJson -}}
{{- $evidence := include "consentd.on" $values.config.evidence | fromJson -}}
{{- $ship := default "none" $evidence.ship -}}
{{- $url := default "" $ledger.url -}}
{{- $hasUrl := ne $url "" -}}
{{- $isFile := and (not $values.nats.enabled) (not $hasUrl) -}}
{{- $persists := and (eq $values.mode "deployment") (or $values.volume.persistent $values.volume.existingClaim) -}}

{{- /* What the mode decides. */ -}}
{{- $decided := list "data_dir" "server.tcp" "admin.tcp" "admin.plaintext" -}}
{{- if $isServer }}{{ $decided = concat $decided (list "server.uds" "server.uds_mode" "server.tls_cert_file" "server.tls_key_file") -}}
{{- else }}{{ $decided = concat $decided (list "server.uds" "server.uds_mode" "server.plaintext" "server.tls_cert_file" "server.tls_key_file" "server.tls_client_ca_file" "server.tls_min_version") }}{{ end -}}
{{- range $decided -}}
{{- $path := splitList "." . -}}
{{- $table := ternary (index $values.config (first $path)) $values.config (gt (len $path) 1) -}}
{{- if hasKey (default dict $table) (last $path) -}}
{{- $wrong = append $wrong (printf "config.%s is decided by the mode `%s`; take it out." . $values.mode) -}}
{{- end -}}
{{- end -}}

{{- /* Where the ledger is. */ -}}
{{- if and $values.nats.enabled $hasUrl -}}
{{- $wrong = append $wrong "nats.enabled and config.ledger.url both say where the ledger is: set one of them." -}}
{{- end -}}
{{- if and $values.nats.enabled (or $ledger.creds_file $ledger.tls_ca_file $ledger.tls_cert_file $ledger.tls_key_file) -}}
{{- $wrong = append $wrong "config.ledger names files for another NATS than that of nats.enabled, which is reached with `nats.creds` and `nats-ca.crt` of the Secret: take creds_file and tls_*_file out." -}}
{{- end -}}
{{- if $isFile -}}
{{- if not (and (eq (default "" $ledger.kind) "file") (eq $values.mode "deployment")) -}}
{{- $wrong = append $wrong "nothing says where the ledger is: set config.ledger.url to its NATS servers, or nats.enabled to run them here." -}}
{{- end -}}
{{- if and (eq (default "" $ledger.kind) "file") (ne $values.mode "deployment") -}}
{{- $wrong = append $wrong (printf "config.ledger.kind `file` gives every pod of mode `%s` a ledger of its own, to which nobody writes: use a ledger on NATS, or mode `deployment` with one replica." $values.mode) -}}
{{- end -}}
{{- if and (eq (default "" $ledger.kind) "file") (eq $values.mode "deployment") -}}
{{- if gt (int $values.deployment.replicas) 1 -}}
{{- $wrong = append $wrong "config.ledger.kind `file` is one file, and deployment.replicas would each have their own: set deployment.replicas to 1, or use a ledger on NATS." -}}
{{- end -}}
{{- if not $persists -}}
{{- $wrong = append $wrong "config.ledger.kind `file` would be gone with its pod: set volume.persistent to true." -}}
{{- end -}}
{{- if not (hasPrefix "/var/lib/consentd/" (default "" $ledger.file)) -}}
{{- $wrong = append $wrong "config.ledger.file must be on the volume, such as `/var/lib/consentd/ledger.jsonl`." -}}
{{- end -}}
{{- if $values.catalogue -}}
{{- $wrong = append $wrong "catalogue cannot be published to a ledger in a file, which only its own pod has: pipe it into `kubectl exec -i … -- /consentd ledger catalogue -`." -}}
{{- end -}}
{{- end -}}
{{- else -}}
{{- if eq (default "nats" $ledger.kind) "file" -}}
{{- $wrong = append $wrong "config.ledger.kind is `file`, and yet a NATS is named: take it out, or nats.enabled and config.ledger.url." -}}
{{- end -}}
{{- if not (or $values.keys.secret $ledger.subject_key_file) -}}
{{- $wrong = append $wrong "a ledger on NATS needs its subject key: keys.secret must name the Secret that holds it as `subject.key`." -}}
{{- end -}}
{{- end -}}
{{- if and (not $values.nats.enabled) (contains "nats://" $url) (not (or $ledger.tls_ca_file $ledger.tls_cert_file)) (not $values.allow.plaintextLedger) -}}
{{- $wrong = append $wrong "config.ledger.url speaks plain text beyond the node, and the ledger holds identifiers of people: use `tls://`, or set allow.plaintextLedger to true where something else encrypts." -}}
{{- end -}}

{{- $shipUrl := default "" $evidence.ship_url -}}
{{- if and (contains "nats://" $shipUrl) (not (or $evidence.ship_tls_ca_file $evidence.ship_tls_cert_file)) (not $values.allow.plaintextLedger) -}}
{{- $wrong = append $wrong "config.evidence.ship_url speaks plain text beyond the node: use `tls://`, or set allow.plaintextLedger to true where something else encrypts." -}}
{{- end -}}

{{- /* The servers of NATS. */ -}}
{{- if $values.nats.enabled -}}
{{- if not (or $values.nats.users $values.nats.anonymous) -}}
{{- $wrong = append $wrong "nats.users is empty: whoever reaches the servers could rewrite the ledger. Name the public nkeys of those who may, or set nats.anonymous to true." -}}
{{- end -}}
{{- if and $values.nats.users $values.nats.anonymous -}}
{{- $wrong = append $wrong "nats.anonymous lets everybody in, and nats.users says who may: set one of them." -}}
{{- end -}}
{{- if and (eq $values.certificates.kind "none") (not $values.allow.plaintextLedger) (not $values.nats.tlsSecret) -}}
{{- $wrong = append $wrong "certificates.kind is `none` and so the NATS of nats.enabled has no certificate: set nats.tlsSecret, or allow.plaintextLedger to true." -}}
{{- end -}}
{{- if and (eq $values.certificates.kind "secret") (not $values.allow.plaintextLedger) (not $values.nats.tlsSecret) -}}
{{- $wrong = append $wrong "certificates.kind is `secret`, and the servers of nats.enabled have other names than the webhook or the service: set nats.tlsSecret to a Secret with their certificate." -}}
{{- end -}}
{{- if and $values.allow.plaintextLedger $values.nats.tlsSecret -}}
{{- $wrong = append $wrong "allow.plaintextLedger speaks without TLS, and nats.tlsSecret names a certificate: set one of them." -}}
{{- end -}}
{{- else -}}
{{- if or $values.nats.users $values.nats.anonymous $values.nats.tlsSecret -}}
{{- $wrong = append $wrong "nats.users, nats.anonymous and nats.tlsSecret are of the servers that nats.enabled runs here: take them out, or set nats.enabled." -}}
{{- end -}}
{{- end -}}

{{- /* Evidence. */ -}}
{{- if and (ne $ship "nats") (not $persists) (not $values.allow.lostEvidence) -}}
{{- $where := ternary "a persistent volume (volume.persistent)" "a stream (config.evidence.ship `nats`)" (eq $values.mode "deployment") -}}
{{- $wrong = append $wrong (printf "evidence would be lost with each pod: let it be kept by %s, or set allow.lostEvidence to true and be unable to prove the answers." $where) -}}
{{- end -}}
{{- if and (eq $ship "nats") $isFile (eq $shipUrl "") -}}
{{- $wrong = append $wrong "config.evidence.ship is `nats` and the ledger is on none: set config.evidence.ship_url, or config.evidence.ship to `none`." -}}
{{- end -}}

{{- /* Three files of the log, as consentd makes them ahead, what waits, what is kept of what was shipped, and the local copy. */ -}}
{{- $segments := mul 3 (include "consentd.bytes" (default "64MiB" $evidence.segment_bytes) | int64) -}}
{{- $size := include "consentd.bytes" $values.volume.size | int64 -}}
{{- $waits := ternary (include "consentd.bytes" (default (printf "%d" (div $size 2)) $evidence.max_unshipped_bytes) | int64) (int64 0) (eq $ship "nats") -}}
{{- $keepsAll := eq (toString (default dict $values.config.evidence).max_shipped_bytes) "off" -}}
{{- $kept := ternary "0B" (default (printf "%d" (div $size 4)) $evidence.max_shipped_bytes) $keepsAll -}}
{{- $kept = ternary (include "consentd.bytes" $kept | int64) (int64 0) (eq $ship "nats") -}}
{{- if and (eq $ship "nats") $keepsAll (not $persists) -}}
{{- $wrong = append $wrong "config.evidence.max_shipped_bytes is `off`, and what was shipped would fill the volume, which takes the pod with it: give it a size, such as a quarter of volume.size." -}}
{{- end -}}
{{- $needed := add $segments $waits $kept | int64 -}}
{{- if lt (sub $size (div $size 16) | int64) $needed -}}
{{- $wrong = append $wrong (printf "volume.size `%v` does not hold the evidence, %d bytes, and a sixteenth of it for the local copy: three times config.evidence.segment_bytes, config.evidence.max_unshipped_bytes and config.evidence.max_shipped_bytes. A volume that is full takes the pod with it." $values.volume.size $needed) -}}
{{- end -}}

{{- /* What is asked for, and its limits. */ -}}
{{- range $name, $resources := dict "resources" $values.resources "injector.resources" $values.injector.resources "nats.resources" $values.nats.resources -}}
{{- range $kind, $limit := default dict $resources.limits -}}
{{- $request := index (default dict $resources.requests) $kind -}}
{{- if and $request (gt (include "consentd.thousandths" $request | float64) (include "consentd.thousandths" $limit | float64)) -}}
{{- $wrong = append $wrong (printf "%s.requests.%s `%v` is more than its limit `%v`, and no cluster takes a pod that asks for more than it may have: lower the one or raise the other." $name $kind $request $limit) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Labels. */ -}}
{{- $own := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "app.kubernetes.io/version" "app.kubernetes.io/part-of" "app.kubernetes.io/managed-by" "helm.sh/chart" -}}
{{- range $name, $labels := dict "commonLabels" $values.commonLabels "podLabels" $values.podLabels "podMonitor.labels" $values.podMonitor.labels "prometheusRule.labels" $values.prometheusRule.labels "dashboard.labels" $values.dashboard.labels -}}
{{- range $key, $label := $labels -}}
{{- if has $key $own -}}
{{- $wrong = append $wrong (printf "%s has `%s`, which is the chart's own label, by which objects find each other: take it out." $name $key) -}}
{{- end -}}
{{- if and (ne $name "podLabels") (ne $name "commonLabels") (hasKey $values.commonLabels $key) -}}
{{- $wrong = append $wrong (printf "%s has `%s`, which commonLabels has too: take it out of one of them." $name $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Volumes. */ -}}
{{- if ne $values.mode "deployment" -}}
{{- if or $values.volume.persistent $values.volume.existingClaim $values.volume.storageClass -}}
{{- $wrong = append $wrong (printf "volume.persistent, volume.existingClaim and volume.storageClass are of mode `deployment`; in mode `%s` the volume goes with the pod." $values.mode) -}}
{{- end -}}
{{- else if $values.volume.existingClaim -}}
{{- if gt (int $values.deployment.replicas) 1 -}}
{{- $wrong = append $wrong "volume.existingClaim is one volume, and only one consentd can hold it: set deployment.replicas to 1, or volume.persistent to true for a volume each." -}}
{{- end -}}
{{- if $values.volume.persistent -}}
{{- $wrong = append $wrong "volume.persistent makes volumes, and volume.existingClaim names one: set one of them." -}}
{{- end -}}
{{- end -}}

{{- /* Certificates. */ -}}
{{- if eq $values.certificates.kind "none" -}}
{{- if not $isServer -}}
{{- $wrong = append $wrong "the API server speaks to a webhook over TLS only: certificates.kind `none` cannot be; use `self`, `cert-manager` or `secret`." -}}
{{- else if not $server.plaintext -}}
{{- $wrong = append $wrong "questions would cross the network in plain text: use certificates.kind `self`, `cert-manager` or `secret`, or set config.server.plaintext to true where something else encrypts." -}}
{{- end -}}
{{- if $server.tls_client_ca_file -}}
{{- $wrong = append $wrong "config.server.tls_client_ca_file asks callers for certificates, and certificates.kind `none` speaks no TLS." -}}
{{- end -}}
{{- else if $server.plaintext -}}
{{- $wrong = append $wrong "config.server.plaintext allows plain text, and there is a certificate: take it out, or set certificates.kind to `none`." -}}
{{- end -}}
{{- if eq $values.certificates.kind "secret" -}}
{{- if not $values.certificates.secret -}}
{{- $wrong = append $wrong "certificates.kind is `secret`: certificates.secret must name it." -}}
{{- end -}}
{{- if and (not $isServer) (not $values.certificates.caBundle) -}}
{{- $wrong = append $wrong "certificates.kind is `secret`: certificates.caBundle must hold the authority that the API server is to trust, in PEM." -}}
{{- end -}}
{{- else if or $values.certificates.secret $values.certificates.caBundle -}}
{{- $wrong = append $wrong (printf "certificates.secret and certificates.caBundle are of certificates.kind `secret`, not of `%s`." $values.certificates.kind) -}}
{{- end -}}
{{- if and (ne $values.certificates.kind "cert-manager") $values.certificates.issuer.name -}}
{{- $wrong = append $wrong (printf "certificates.issuer is of certificates.kind `cert-manager`, not of `%s`." $values.certificates.kind) -}}
{{- end -}}

{{- /* Paths that are on no volume. */ -}}
{{- range $section, $table := $values.config -}}
{{- if kindIs "map" $table -}}
{{- range $name, $path := $table -}}
{{- if and (hasSuffix "_file" $name) (ne $path "off") -}}
{{- $key := printf "config.%s.%s" $section $name -}}
{{- if or (contains ".." $path) (not (or (hasPrefix "/etc/consentd/keys/" $path) (hasPrefix "/var/lib/consentd/" $path) (and $isServer (hasPrefix "/etc/consentd/tls/" $path)))) -}}
{{- $wrong = append $wrong (printf "%s is `%s`, which is on no volume: files of the Secret keys.secret are in /etc/consentd/keys%s." $key $path (ternary ", those of the certificate in /etc/consentd/tls" "" (ne $isServer ""))) -}}
{{- else if and (hasPrefix "/etc/consentd/keys/" $path) (not $values.keys.secret) -}}
{{- $wrong = append $wrong (printf "%s is in the Secret, and keys.secret names none." $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Ending. */ -}}
{{- if $isServer -}}
{{- $config := include "consentd.config" . | fromJson -}}
{{- $ends := add (include "consentd.seconds" $config.server.drain_delay | int64) (include "consentd.seconds" (default "25s" $config.server.drain_timeout) | int64) -}}
{{- if eq $ship "nats" }}{{ $ends = add $ends (include "consentd.seconds" $config.evidence.ship_wait | int64) }}{{ end -}}
{{- if le (int64 $values.terminationGracePeriodSeconds) $ends -}}
{{- $wrong = append $wrong (printf "terminationGracePeriodSeconds must be above %d, which config.server.drain_delay, config.server.drain_timeout and config.evidence.ship_wait come to together, or answers and evidence are cut off." $ends) -}}
{{- end -}}
{{- end -}}

{{- if $wrong -}}
{{- fail (printf "these values cannot be:\n  - %s" (join "\n  - " $wrong)) -}}
{{- end -}}
{{- end -}}
