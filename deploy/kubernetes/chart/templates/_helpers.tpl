{{- define "rulecast.name" -}}
{{- printf "%s-%s" .root.Release.Name .part | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/* Labels of our own: prometheus-operator replaces app.kubernetes.io/name of its pods. */}}
{{- define "rulecast.selector" -}}
rulecast/release: {{ .root.Release.Name }}
rulecast/part: {{ .part }}
{{- end -}}

{{- define "rulecast.labels" -}}
{{ include "rulecast.selector" . }}
app.kubernetes.io/name: rulecast
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
{{- end -}}

{{- define "rulecast.image" -}}
{{ .root.Values.image.registry }}rulecast/{{ .service }}:{{ default .root.Chart.AppVersion .root.Values.image.tag }}
{{- end -}}

{{/* Of every pod: what the restricted profile asks for. */}}
{{- define "rulecast.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .user }}
  runAsGroup: {{ .user }}
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Of every container: what the restricted profile asks for, and a read-only root file system. */}}
{{- define "rulecast.container" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "rulecast.security" -}}
{{- if .Values.security.insecure }}
- {name: RULECAST_INSECURE, value: "true"}
{{- end }}
{{- end -}}

{{/* Pods of one kind on different nodes, as far as there are any. */}}
{{- define "rulecast.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "rulecast.selector" . | nindent 8 }}
{{- end -}}

{{- define "rulecast.ruleServiceSettings" -}}
{{- $own := dict "grpc_listen" "0.0.0.0:50051" "http_listen" "0.0.0.0:8080" "database" (dict "migrate" false) "logs" (dict "format" "json") -}}
{{ toYaml (mergeOverwrite $own (deepCopy .Values.ruleService.settings)) }}
{{- end -}}

{{- define "rulecast.deployerSettings" -}}
{{- $service := printf "%s:50051" (include "rulecast.name" (dict "root" . "part" "rule-service")) -}}
{{- $prometheus := dict "url" "http://localhost:9090" "rule_path" "/etc/prometheus/rules/generated" -}}
{{- $own := dict "rule_service" (list $service) "grpc_listen" "0.0.0.0:50052" "http_listen" "0.0.0.0:8081" "prometheus" $prometheus "logs" (dict "format" "json") -}}
{{ toYaml (mergeOverwrite $own (deepCopy .Values.deployer.settings)) }}
{{- end -}}

{{/* The deployer, to stand beside a Prometheus: the volume `data` is on a disk that outlives the pod. */}}
{{- define "rulecast.deployer" -}}
name: deployer
image: {{ include "rulecast.image" (dict "root" . "service" "deployer-service") }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
  - {name: RULECAST_CONFIG, value: /etc/rulecast/deployer.yaml}
  # one name for each pod, the same after every restart
  - name: DEPLOYER_ID
    valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- include "rulecast.security" . | trim | nindent 2 }}
ports:
  - {name: grpc, containerPort: 50052}
  - {name: http, containerPort: 8081}
startupProbe:
  httpGet: {path: /health/live, port: 8081}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /health/live, port: 8081}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /health/ready, port: 8081}
  periodSeconds: 10
  timeoutSeconds: 5
resources: {{- toYaml .Values.deployer.resources | nindent 2 }}
securityContext:
  # not Prometheus's user: it can not change the rules
  runAsUser: 65532
  runAsGroup: 65532
  {{- include "rulecast.container" . | nindent 2 }}
volumeMounts:
  - {name: data, mountPath: /etc/prometheus/rules/generated, subPath: rulecast-rules}
  - {name: deployer-settings, mountPath: /etc/rulecast, readOnly: true}
  - {name: deployer-tmp, mountPath: /tmp}
{{- end -}}

{{- define "rulecast.deployerVolumes" -}}
- name: deployer-settings
  configMap: {name: {{ include "rulecast.name" (dict "root" . "part" "deployer") }}}
- name: deployer-tmp
  emptyDir: {medium: Memory, sizeLimit: 64Mi}
{{- end -}}

{{- define "rulecast.prometheusConfig" -}}
{{- $service := include "rulecast.name" (dict "root" . "part" "rule-service") -}}
global:
  scrape_interval: {{ .Values.prometheus.scrapeInterval }}
  evaluation_interval: {{ .Values.prometheus.evaluationInterval }}
rule_files: [/etc/prometheus/rules/generated/*.yml]
{{- with .Values.prometheus.alertmanagers }}
alerting:
  alertmanagers:
    - static_configs:
        - targets: {{ toJson . }}
{{- end }}
scrape_configs:
  # the hosts, with the labels of their groups: Rulecast knows them
  - job_name: node
    http_sd_configs:
      - url: http://{{ $service }}:8080/api/v1/sd/prometheus
  - job_name: rule-service
    dns_sd_configs:
      - {names: [{{ $service }}-pods], type: A, port: 8080}
  - job_name: deployer
    static_configs:
      - targets: [localhost:8081]
  - job_name: prometheus
    static_configs:
      - targets: [localhost:9090]
{{- with .Values.prometheus.scrapeConfigs }}
{{ toYaml . | indent 2 }}
{{- end }}
{{- end -}}
